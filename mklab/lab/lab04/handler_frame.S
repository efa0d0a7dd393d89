/*
 * Tries the answer's handler: CPU 0 halts with interrupts on and a known value in each register; CPU 1 sends it 0xEA,
 * waits until the handler has counted (or for so long that it should have), sends once more, and halts.
 */
	.code64
	.text
	int3				/* whoever runs on beyond the answer's end */
	.globl	main, sender, beyond
main:
	movabsq	$0x1111111111111111, %rax
	movabsq	$0x2222222222222222, %rcx
	movabsq	$0x3333333333333333, %rdx
	movabsq	$0x4444444444444444, %rbx
	movabsq	$0x5555555555555555, %rbp
	movabsq	$0x6666666666666666, %rsi
	movabsq	$0x7777777777777777, %rdi
	movabsq	$0x8888888888888888, %r8
	movabsq	$0x9999999999999999, %r9
	movabsq	$0xaaaaaaaaaaaaaaaa, %r10
	movabsq	$0xbbbbbbbbbbbbbbbb, %r11
	movabsq	$0xcccccccccccccccc, %r12
	movabsq	$0xdddddddddddddddd, %r13
	movabsq	$0xeeeeeeeeeeeeeeee, %r14
	movabsq	$0xffffffffffffffff, %r15
	sti
	hlt
beyond:					/* where the handler returns to */
	hlt
	jmp	beyond

sender:
	movl	$300, %ecx		/* until CPU 0 is ready */
	call	delay
	call	send
	movl	$1000, %ecx
	call	delay
	call	send
	hlt

delay:
	pause
	decl	%ecx
	jnz	delay
	ret

send:
	movl	$0xfee00310, %eax
	movl	$0, (%rax)
	movl	$0xfee00300, %eax
	movl	$0xea, (%rax)
	ret
