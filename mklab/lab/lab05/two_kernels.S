/* The ways into two_kernels.c. Contract: 64-bit mode, the gate of 0xEA leads to handler. */
	.code64
	.text
	int3
	.globl	host_main, kernel_1_main, others, handler
host_main:
	call	host_sends
	jmp	others
kernel_1_main:
	sti
	call	kernel_1_sends
others:
	sti
1:	hlt
	jmp	1b

handler:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	call	receive
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
