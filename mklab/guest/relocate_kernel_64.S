/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last code that a kernel runs before kexec's image has the machine: it puts the image's pages in place and enters
 * it. After the behaviour of arch/x86/kernel/relocate_kernel_64.S.
 *
 * Contract
 *   Placed    at the beginning of a control page: a page that is nobody's destination and nobody's source.
 *   In        64-bit mode, running at its physical address; RDI = the first entry of the list (kimage.head),
 *             RSI = this page, RDX = the image's entry, RCX = page tables that map memory to itself.
 *   Out       jump to the entry: all general registers 0 but RSP, which is the end of this page; interrupts off; paging
 *             on, with the tables of RCX; CR4 = PAE; CR0 without WP, EM, TS and AM.
 *   List      entries of 8 bytes, an address and one bit: 1 copy to there, 2 the list goes on there, 4 the end,
 *             8 copy this page; the next one goes behind it. Others are passed over.
 *
 * A list may copy a page onto itself; it may not copy to a page that is still to be copied (kimage_alloc_page sees to
 * that). Unlike Linux's, this code copies without swapping: there is no way back (docs/fidelity.md).
 */

#define PAGE_SIZE	4096
#define CR0_KEEP	~((1 << 2) | (1 << 3) | (1 << 16) | (1 << 18))	/* EM, TS, WP, AM */
#define CR0_SET		0x80000001					/* PG, PE */
#define CR4_PAE		(1 << 5)

	.section .relocate_kernel, "ax"
	.code64
	.globl	relocate_kernel
relocate_kernel:
	cli
	cld
	movq	%rcx, %cr3
	leaq	PAGE_SIZE(%rsi), %rsp		/* the host's stack may be somebody's destination */
	pushq	%rdx

	movq	%cr0, %rax
	andq	$CR0_KEEP, %rax
	movl	$CR0_SET, %edx
	orq	%rdx, %rax
	movq	%rax, %cr0
	movl	$CR4_PAE, %eax
	movq	%rax, %cr4
	movq	%rcx, %cr3

	movq	%rdi, %rax			/* the first entry is a value, not in the list */
	jmp	next_entry

	.globl	copy_pages
copy_pages:
	movq	(%rbx), %rax
	addq	$8, %rbx
next_entry:
	movq	%rax, %rdx
	andq	$-PAGE_SIZE, %rdx
	testb	$1, %al
	jz	1f
	movq	%rdx, %rdi			/* IND_DESTINATION */
	jmp	copy_pages
1:	testb	$2, %al
	jz	1f
	movq	%rdx, %rbx			/* IND_INDIRECTION */
	jmp	copy_pages
1:	testb	$4, %al
	jnz	enter_image			/* IND_DONE */
	testb	$8, %al
	jz	copy_pages
	movq	%rdx, %rsi			/* IND_SOURCE */
	movl	$(PAGE_SIZE / 8), %ecx
	rep movsq				/* RDI is the next page now */
	jmp	copy_pages

	.globl	enter_image
enter_image:
	movq	%cr3, %rax
	movq	%rax, %cr3			/* serialize: what was copied may be code */
	xorl	%eax, %eax
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	ret

	.globl	relocate_kernel_end
relocate_kernel_end:
