/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The minikernel's ways in: its first CPU, further CPUs, interrupts and exceptions.
 *
 * Contract of startup_64 and secondary_startup_64: Linux's "64-bit Boot Protocol": 64-bit mode, the kernel and the
 * local APIC mapped to themselves, interrupts off, RSI = boot_params (which is the host's own for a spawned kernel,
 * RFC v1's defect 13). The image runs wherever it was loaded.
 */

#define APIC_ID		0xfee00020
#define STACK_SHIFT	11			/* 2 KiB for each CPU */

	.section .head.text, "ax"
	.code64
	.globl startup_64
startup_64:
	cli
	movq	%rsi, boot_params(%rip)

	/* Page tables of our own: the trampoline's are wiped when it starts the next CPU (defect 6). */
	leaq	page_tables(%rip), %rdi
	leaq	0x1003(%rdi), %rax
	movq	%rax, (%rdi)			/* PML4[0] -> PDPT */
	leaq	0x1000(%rdi), %rdx
	movl	$4, %ecx
1:	addq	$0x1000, %rax
	movq	%rax, (%rdx)			/* PDPT[0..3] -> directories */
	addq	$8, %rdx
	decl	%ecx
	jnz	1b
	leaq	0x2000(%rdi), %rdx
	movl	$0x83, %eax			/* 2048 pages of 2 MiB: P, RW, PS */
	movl	$2048, %ecx
1:	movq	%rax, (%rdx)
	addq	$0x200000, %rax
	addq	$8, %rdx
	decl	%ecx
	jnz	1b
	xorl	%ebp, %ebp			/* the first CPU */
	jmp	1f

	.globl secondary_startup_64
secondary_startup_64:
	cli
	movl	$1, %ebp
1:	leaq	page_tables(%rip), %rax
	movq	%rax, %cr3
	movl	$APIC_ID, %eax
	movl	(%rax), %ecx
	shrl	$24, %ecx			/* the physical id chooses the stack */
	incl	%ecx
	shll	$STACK_SHIFT, %ecx
	leaq	stacks(%rip), %rsp
	addq	%rcx, %rsp

	leaq	gdt(%rip), %rax
	movq	%rax, gdt_pointer + 2(%rip)
	lgdt	gdt_pointer(%rip)
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	leaq	1f(%rip), %rax
	pushq	$0x10
	pushq	%rax
	lretq
1:	movl	%ebp, %edi
	xorl	%ebp, %ebp
	call	start_cpu			/* does not return */
	hlt

	.text
/* Interrupts: the frame is 40 bytes and nine registers 72, so the stack is aligned for the call. */
	.macro	INTERRUPT name handler
	.globl	\name
\name:
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
	call	\handler
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
	.endm

	INTERRUPT asm_sysvec_multikernel sysvec_multikernel
	INTERRUPT asm_sysvec_reschedule_ipi sysvec_reschedule_ipi

	.globl	asm_spurious
asm_spurious:
	iretq

/* Exceptions: every stub pushes its vector over an error code; 16 bytes each. */
	.balign	16
	.globl	exception_stubs
exception_stubs:
	vector = 0
	.rept	32
	.balign	16
	.if	(vector != 8) && (vector < 10 || vector > 14) && (vector != 17)
	pushq	$0
	.endif
	pushq	$vector
	jmp	exception
	vector = vector + 1
	.endr
exception:
	popq	%rdi				/* vector */
	popq	%rsi				/* error code */
	movq	(%rsp), %rdx			/* RIP */
	andq	$-16, %rsp
	call	die				/* does not return */
	hlt

	.section .data, "aw"
	.balign	8
gdt:
	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff		/* 0x10 code, 64-bit */
	.quad	0x00cf93000000ffff		/* 0x18 data */
gdt_pointer:
	.word	4 * 8 - 1
	.quad	0

	.bss
	.balign	4096
page_tables:
	.skip	6 * 4096
	.globl	stacks
stacks:
	.skip	256 << STACK_SHIFT
