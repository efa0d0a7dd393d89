/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * RDI IPIs from CPU 0 to CPU 1, each sent when the one before has been answered by a store.
 *
 * CPU 1 begins at `wait`, with a stack of its own; CPU 0 at `program`.
 */
	.globl	program, wait
	APIC = 0xfee00000
program:
	leaq	arena, %rbx
	movl	$APIC, %esi
	movl	$0x1ff, 0xf0(%rsi)		/* SVR: on */
	movl	$1 << 24, 0x310(%rsi)
0:	cmpq	$0, 8(%rbx)
	je	0b
1:	movq	(%rbx), %rax
	movl	$0x40ea, 0x300(%rsi)		/* fixed, asserted, vector 0xea */
2:	cmpq	%rax, (%rbx)
	je	2b
	decq	%rdi
	jnz	1b
	ret

wait:
	leaq	arena, %rbx
	movl	$APIC, %esi
	movl	$0x1ff, 0xf0(%rsi)
	lidt	idt_register
	movq	$taken, %rax
	movw	%ax, idt + 16 * 0xea
	movw	$8, idt + 16 * 0xea + 2
	movw	$0x8e00, idt + 16 * 0xea + 4
	shrl	$16, %eax
	movw	%ax, idt + 16 * 0xea + 6
	sti
	movq	$1, 8(%rbx)			/* ready */
3:	hlt
	jmp	3b
taken:
	incq	(%rbx)
	movl	$0, 0xb0(%rsi)			/* EOI */
	iretq

	.section .rodata
idt_register:
	.word	4095
	.quad	idt
	.bss
	.balign	16
idt:	.skip	4096
