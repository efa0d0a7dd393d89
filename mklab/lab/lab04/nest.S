/*
 * Four IPIs reach a CPU one after the other while its handler works: how many handlers are under way at once?
 *
 * Contract: as in ipis.S. Two handlers: one writes EOI before it works, as sysvec_multikernel does, one behind it.
 */
	.code64
	.set	runs, 0x40008
	.set	depth, 0x40010		/* handlers under way */
	.set	deepest, 0x40018

sender:
	shll	$24, %edi
	movl	$4, %ecx
1:	movl	$0xfee00310, %eax
	movl	%edi, (%rax)
	movl	$0xfee00300, %eax
	movl	$0xea, (%rax)
	movl	$150, %edx		/* until the handler is at work */
2:	pause
	decl	%edx
	jnz	2b
	decl	%ecx
	jnz	1b
	hlt

receiver:
	sti
1:	hlt
	jmp	1b

	.macro	EOI
	movl	$0xfee000b0, %eax
	movl	$0, (%rax)
	.endm

	.macro	WORK
	incl	runs
	incl	depth
	movl	depth, %eax
	cmpl	deepest, %eax
	jle	1f
	movl	%eax, deepest
1:	movl	$2000, %ecx
2:	pause
	decl	%ecx
	jnz	2b
	decl	depth
	.endm

handler_eoi_first:
	pushq	%rax
	pushq	%rcx
	EOI
	WORK
	popq	%rcx
	popq	%rax
	iretq

handler_eoi_last:
	pushq	%rax
	pushq	%rcx
	WORK
	EOI
	popq	%rcx
	popq	%rax
	iretq
