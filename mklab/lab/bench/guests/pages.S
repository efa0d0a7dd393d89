/* SPDX-License-Identifier: GPL-2.0-only */
/* RDI rounds of five instructions, each a store; 200 pages are written, one after the other. */
	.globl	program
program:
	movq	%rdi, %rcx
	leaq	arena, %rdi
	movq	%rdi, %rbx
	leaq	200 * 4096(%rdi), %rsi
1:	movq	%rcx, (%rdi)
	addq	$4096, %rdi
	cmpq	%rsi, %rdi
	cmoveq	%rbx, %rdi
	loop	1b
	ret
