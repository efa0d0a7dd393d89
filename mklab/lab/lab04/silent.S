/*
 * CPU 0 sends 0xEA twice to the CPU whose APIC id is in RDI; what that CPU has done before is its own affair.
 *
 * Contract: as in ipis.S.
 */
	.code64
	.set	runs, 0x40008

sender:
	call	send
	call	send
	hlt

send:
	movl	$1000, %ecx		/* until the receiver is where it should be */
1:	pause
	decl	%ecx
	jnz	1b
	movl	%edi, %edx
	shll	$24, %edx
	movl	$0xfee00310, %eax
	movl	%edx, (%rax)
	movl	$0xfee00300, %eax
	movl	$0xea, (%rax)
	ret

switched_off:
	movl	$0xfee000f0, %eax	/* SVR without bit 8, as INIT leaves it */
	movl	$0xff, (%rax)
	sti
	jmp	idle

deaf:
	cli
	jmp	idle

busy:
	movl	$0xfee00080, %eax	/* TPR */
	movl	%edi, (%rax)
	sti
	jmp	idle

ready:
	sti
idle:
	hlt
	jmp	idle

handler_without_eoi:
	incl	runs
	iretq
