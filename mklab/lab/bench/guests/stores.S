/* SPDX-License-Identifier: GPL-2.0-only */
/* RDI rounds of seven instructions, each a store; 16 KiB are written over and over. */
	.globl	program
program:
	movq	%rdi, %rcx
	leaq	arena, %rdi
	movq	%rdi, %rbx
	leaq	0x4000(%rdi), %rsi
	movl	$1, %eax
1:	movq	%rax, (%rdi)
	addq	$8, %rdi
	cmpq	%rsi, %rdi
	cmoveq	%rbx, %rdi
	addq	%rcx, %rax
	decq	%rcx
	jnz	1b
	ret
