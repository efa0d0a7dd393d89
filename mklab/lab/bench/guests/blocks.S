/* SPDX-License-Identifier: GPL-2.0-only */
/* RDI rounds through 4,000 blocks of eight instructions, one after the other: more code than most kernels have warm. */
	.globl	program
program:
	leaq	arena, %rbx
1:	.rept	4000
	movq	(%rbx), %rax
	addq	%rdi, %rax
	rolq	$3, %rax
	xorq	%rdx, %rax
	leaq	1(%rdx), %rdx
	movq	%rax, (%rbx)
	testq	%rdi, %rdi
	jz	2f
	.endr
	decq	%rdi
	jmp	1b
2:	ret
