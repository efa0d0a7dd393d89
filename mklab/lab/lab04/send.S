/* Calls the answer's send_ipi() for two CPUs, whose APIC ids the check has put at 0x40000; the others halt. */
	.code64
	.text
	int3				/* whoever runs on beyond the answer's end */
	.globl	main
main:
	movl	0x40000, %edi
	call	send_ipi
	movl	0x40004, %edi
	call	send_ipi
	hlt
	.globl	idle
idle:
	hlt
	jmp	idle
