/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What stands around relay(): a kernel of one CPU that sleeps until a message comes.
 *
 * Contract
 *   In     RFC v1's trampoline jumps to frame_start: 64-bit mode, CS = 0x10, the trampoline's page tables and GDT.
 *   Then   page tables of the kernel's own (the trampoline's are wiped when it starts the next CPU, defect 6), a GDT,
 *          a stack, an IDT with one gate, the local APIC enabled, HLT.
 *   0xEA   relay(slots, me): slots = mk_shared_data, me = this CPU's physical id. It has to write EOI itself.
 *   Tells  frame_up = 1 once interrupts are on.
 */

#include "abi.h"

	.set	MK_SHARED_DATA, 0x1ffa000
	.set	APIC, 0xfee00000

	.weak	relay

	.code64
	.globl	frame_start
frame_start:
	cli
	leaq	stack_end(%rip), %rsp

	/* PML4[0] -> PDPT, PDPT[0..3] -> directories, 2048 pages of 2 MiB */
	leaq	tables(%rip), %rdi
	leaq	0x1003(%rdi), %rax
	movq	%rax, (%rdi)
	leaq	0x2003(%rdi), %rax
	movl	$4, %ecx
	leaq	0x1000(%rdi), %rdx
1:	movq	%rax, (%rdx)
	addq	$0x1000, %rax
	addq	$8, %rdx
	decl	%ecx
	jnz	1b
	leaq	0x2000(%rdi), %rdx
	movl	$0x83, %eax
	movl	$2048, %ecx
1:	movq	%rax, (%rdx)
	addq	$0x200000, %rax
	addq	$8, %rdx
	decl	%ecx
	jnz	1b
	movq	%rdi, %cr3

	leaq	gdt(%rip), %rax
	movq	%rax, gdt_pointer + 2(%rip)
	lgdt	gdt_pointer(%rip)
	leaq	message(%rip), %rax		/* one gate: 16 bytes at 0xEA */
	leaq	idt + MULTIKERNEL_VECTOR * 16(%rip), %rdx
	movw	%ax, (%rdx)
	movw	$0x10, 2(%rdx)
	movw	$0x8e00, 4(%rdx)		/* present, interrupt gate */
	shrq	$16, %rax
	movw	%ax, 6(%rdx)
	shrq	$16, %rax
	movl	%eax, 8(%rdx)
	leaq	idt(%rip), %rax
	movq	%rax, idt_pointer + 2(%rip)
	lidt	idt_pointer(%rip)

	movl	$APIC, %eax
	movl	$0x100 | SPURIOUS_VECTOR, 0xf0(%rax)	/* INIT has disabled it */
	movl	$1, frame_up(%rip)
	sti
1:	hlt
	jmp	1b

message:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	cld
	movl	$APIC, %eax
	movl	0x20(%rax), %esi
	shrl	$24, %esi
	movl	$MK_SHARED_DATA, %edi
	call	relay
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

	/* The compiler asks for these by name. */
	.globl	memcpy, memset
memcpy:
	movq	%rdi, %rax
	movq	%rdx, %rcx
	rep movsb
	ret
memset:
	movq	%rdi, %r8
	movl	%esi, %eax
	movq	%rdx, %rcx
	rep stosb
	movq	%r8, %rax
	ret

	.data
	.balign	8
gdt:
	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff		/* 0x10 code, 64-bit */
	.quad	0x00cf93000000ffff		/* 0x18 data */
gdt_pointer:
	.word	4 * 8 - 1
	.quad	0
idt_pointer:
	.word	256 * 16 - 1
	.quad	0
	.globl	frame_up
frame_up:
	.long	0
	.balign	16
idt:
	.skip	256 * 16
	.balign	4096
tables:
	.skip	6 * 4096
	.skip	4096
stack_end:
