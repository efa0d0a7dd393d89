/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages through a ring in shared memory: several senders, one receiver, nobody waits for a lock.
 *
 * The ring has a tail, the number of the next place to be claimed, and two entries. The sequence number of entry n % 2
 * says whose turn it is: n, a sender may claim it as place n; n + 1, the message of place n lies in it; n + 2, it is
 * free again, for place n + 2. (D. Vyukov's bounded queue, with one receiver.)
 *
 * struct { u64 tail; u64 unused[7]; struct { u64 sequence, message; } entry[2]; }
 *
 * Contract: 64-bit mode, interrupts off, no stack. RDI = the ring, RDX = how many messages. A sender sends RSI, RSI + 1,
 * ...; the receiver stores what it receives at RSI. Each halts when it is done. Beside the correct sender and receiver
 * there are three that each do one thing wrong.
 */

	/* R8 = the entry of place RAX. Uses RCX. */
	.macro	ENTRY
	movl	%eax, %ecx
	andl	$1, %ecx
	shll	$4, %ecx
	leaq	64(%rdi,%rcx), %r8
	.endm

	.macro	SENDER name claim publish_first
	.globl	\name
\name:
1:	movq	(%rdi), %rax
	ENTRY
	cmpq	%rax, (%r8)
	je	2f
	pause				/* full, or another sender was faster */
	jmp	1b
2:	leaq	1(%rax), %r10
	.if	\claim
	lock cmpxchgq %r10, (%rdi)
	jne	1b
	.else
	movq	%r10, (%rdi)		/* tested above, set here: another sender may have done the same */
	.endif
	.if	\publish_first
	movq	%r10, (%r8)		/* before there is anything to be seen */
	movq	%rsi, 8(%r8)
	.else
	movq	%rsi, 8(%r8)
	movq	%r10, (%r8)
	.endif
	incq	%rsi
	decq	%rdx
	jnz	1b
	hlt
	.endm

	.macro	RECEIVER name free_first
	.globl	\name
\name:
	xorl	%eax, %eax
1:	ENTRY
	leaq	1(%rax), %r10
	leaq	2(%rax), %r11
2:	cmpq	%r10, (%r8)
	je	3f
	pause
	jmp	2b
3:	.if	\free_first
	movq	%r11, (%r8)		/* a sender may fill it before it is read */
	movq	8(%r8), %r9
	.else
	movq	8(%r8), %r9
	movq	%r11, (%r8)
	.endif
	movq	%r9, (%rsi)
	addq	$8, %rsi
	incq	%rax
	decq	%rdx
	jnz	1b
	hlt
	.endm

	.section .rings, "ax"
	.code64
	SENDER	send claim=1 publish_first=0
	RECEIVER receive free_first=0
	SENDER	send_test_then_set claim=0 publish_first=0
	SENDER	send_publish_before_fill claim=1 publish_first=1
	RECEIVER receive_free_before_copy free_first=1
