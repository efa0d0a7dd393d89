/*
 * Several CPUs send vector 0xEA to one.
 *
 * Contract: 64-bit mode, interrupts off, the APIC's page mapped. RDI: of a sender, the receiver's APIC id; of the
 * receiver, how many will send. CPUs send one after the other, by their APIC ids. The handler does not end before all
 * three IPIs are sent.
 */
	.code64
	.set	sent, 0x40000		/* how many CPUs have sent */
	.set	runs, 0x40008		/* how often the handler was entered */

sender:
	movl	$0xfee00020, %eax
	movl	(%rax), %ecx
	shrl	$24, %ecx		/* this CPU's APIC id */
	imull	$60, %ecx
1:	pause
	decl	%ecx
	jns	1b
	shll	$24, %edi
	movl	$0xfee00310, %eax	/* ICR, high half: to whom */
	movl	%edi, (%rax)
	movl	$0xfee00300, %eax	/* ICR, low half: this store sends */
	movl	$0xea, (%rax)
	lock incl sent
	hlt

receiver_with_interrupts_on:
	sti
receiver:				/* interrupts are off until everybody has sent */
1:	pause
	cmpl	%edi, sent
	jne	1b
	sti
2:	hlt
	jmp	2b

parked:
	hlt
	jmp	parked

handler:
	pushq	%rax
	incl	runs
1:	pause
	cmpl	$3, sent
	jne	1b
	movl	$0xfee000b0, %eax	/* EOI */
	movl	$0, (%rax)
	popq	%rax
	iretq
