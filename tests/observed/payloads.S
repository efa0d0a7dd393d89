/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was kicked on the real kernel, and is kicked here: payloads that need nothing but the trampoline. Each is entered
 * at its first byte in the trampoline's state, runs anywhere, and finds its data behind its own beginning, at 0x800.
 */
	.text
	.globl _start
_start:

/* begin NAME: position-independent code of its own page, from NAME to NAME_end; RBX = that page. */
	.macro	begin name
	.balign	16
	.globl	\name, \name\()_end
\name:
	.endm

	.set	DATA, 0x800

/* Every register that a program can read, as it was at the entry; the flags before anything changes them. */
begin dump
	movq	%rbx, dump + DATA + 0x08(%rip)
	leaq	dump(%rip), %rbx
	movq	%rax, DATA + 0x00(%rbx)
	movq	%rcx, DATA + 0x10(%rbx)
	movq	%rdx, DATA + 0x18(%rbx)
	movq	%rsi, DATA + 0x20(%rbx)
	movq	%rdi, DATA + 0x28(%rbx)
	movq	%rbp, DATA + 0x30(%rbx)
	movq	%rsp, DATA + 0x38(%rbx)
	movq	%r8, DATA + 0x40(%rbx)
	movq	%r14, DATA + 0x48(%rbx)
	movq	%r15, DATA + 0x50(%rbx)
	leaq	DATA + 0x800(%rbx), %rsp
	pushfq
	popq	DATA + 0x58(%rbx)
	movq	%cr0, %rax
	movq	%rax, DATA + 0x60(%rbx)
	movq	%cr2, %rax
	movq	%rax, DATA + 0x68(%rbx)
	movq	%cr3, %rax
	movq	%rax, DATA + 0x70(%rbx)
	movq	%cr4, %rax
	movq	%rax, DATA + 0x78(%rbx)
	movq	%dr6, %rax
	movq	%rax, DATA + 0x80(%rbx)
	movq	%dr7, %rax
	movq	%rax, DATA + 0x88(%rbx)
	movw	%cs, DATA + 0x90(%rbx)
	movw	%ss, DATA + 0x98(%rbx)
	movw	%ds, DATA + 0xa0(%rbx)
	movw	%es, DATA + 0xa8(%rbx)
	movw	%fs, DATA + 0xb0(%rbx)
	movw	%gs, DATA + 0xb8(%rbx)
	str	DATA + 0xc0(%rbx)
	sldt	DATA + 0xc8(%rbx)
	sgdt	DATA + 0xd0 + 6(%rbx)		/* limit at 0xd6, base at 0xd8 */
	sidt	DATA + 0xe0 + 6(%rbx)
	movl	$0xc0000080, %ecx
	rdmsr
	movl	%eax, DATA + 0xf0(%rbx)
	movl	%edx, DATA + 0xf4(%rbx)
	movl	$0x1b, %ecx
	rdmsr
	movl	%eax, DATA + 0xf8(%rbx)
	movl	%edx, DATA + 0xfc(%rbx)
	movl	$0xfee00000, %edx
	movl	0xf0(%rdx), %eax
	movl	%eax, DATA + 0x100(%rbx)
	movl	0x80(%rdx), %eax
	movl	%eax, DATA + 0x108(%rbx)
	movl	0xe0(%rdx), %eax
	movl	%eax, DATA + 0x110(%rbx)
	movl	$1, DATA + 0x118(%rbx)		/* done */
1:	jmp	1b
dump_end:

/*
 * Counts for ever: entries at DATA, rounds at DATA + 8. Its page tables lie in the pages behind it, since the
 * trampoline's are wiped by the next kick (defect 6).
 */
begin counter
	incq	counter + DATA(%rip)
	leaq	counter + 0x1000(%rip), %rax
	movq	%rax, %cr3
1:	incq	counter + DATA + 8(%rip)
	jmp	1b
counter_end:

/* The same, with another step. */
begin doubler
	incq	doubler + DATA(%rip)
	leaq	doubler + 0x1000(%rip), %rax
	movq	%rax, %cr3
1:	addq	$2, doubler + DATA + 8(%rip)
	jmp	1b
doubler_end:

/* Reloads CR3 in a loop, and so walks the trampoline's tables again and again. */
begin reload
	movq	%cr3, %rax
1:	movq	%rax, %cr3
	jmp	1b
reload_end:

/*
 * Waits for DATA to become 1; then does, as often as DATA + 4 says: writes sender, type and size (DATA + 0x10, 0x14,
 * 0x18) into the slot at DATA + 0x20, if that is not 0, and the ICR (DATA + 8 low, DATA + 0xc high). DATA becomes 0.
 */
begin sender
	leaq	sender(%rip), %rbx
	movl	$0xfee00000, %edx
	movl	$1, DATA + 0x28(%rbx)		/* up */
1:	cmpl	$1, DATA(%rbx)
	jne	1b
2:	movq	DATA + 0x20(%rbx), %rdi
	testq	%rdi, %rdi
	jz	3f
	movq	DATA + 0x18(%rbx), %rax
	movq	%rax, 8(%rdi)
	movq	DATA + 0x10(%rbx), %rax
	movq	%rax, (%rdi)
3:	movl	DATA + 0xc(%rbx), %eax
	movl	%eax, 0x310(%rdx)
	movl	DATA + 8(%rbx), %eax
	movl	%eax, 0x300(%rdx)
	decl	DATA + 4(%rbx)
	jnz	2b
	movl	$0, DATA(%rbx)
	jmp	1b
sender_end:

/* Notes that it runs; when DATA becomes 1, reads 4 GiB. */
begin reader
	leaq	reader(%rip), %rbx
	movl	$1, DATA + 8(%rbx)
1:	cmpl	$1, DATA(%rbx)
	jne	1b
	movabsq	$0x100000000, %rax
	movq	(%rax), %rax
2:	jmp	2b
reader_end:

begin triple
	lidt	idt - triple + triple(%rip)
	int3
idt:	.word	0
	.quad	0
triple_end:

begin breakpoint
	int3
breakpoint_end:

/* The two writes to the reset control register that Linux's reboot=pci makes. */
begin cf9
	movw	$0xcf9, %dx
	movb	$2, %al
	outb	%al, %dx
	movb	$6, %al
	outb	%al, %dx
1:	jmp	1b
cf9_end:
