/* SPDX-License-Identifier: GPL-2.0-only */
/* Lets its local APIC's timer interrupt ten times, prints a full stop each time, and leaves with 10. */
	VECTOR = 0x40
start:
	mov	$0xff, %al			/* no interrupts from a PC's PICs, if there are any */
	out	%al, $0x21
	out	%al, $0xa1
	lgdt	gdt_register
	ljmp	$8, $1f
1:	mov	$0x10, %eax
	mov	%ax, %ss
	mov	$tick, %eax
	movw	%ax, idt + 8 * VECTOR
	movw	$8, idt + 8 * VECTOR + 2
	movw	$0x8e00, idt + 8 * VECTOR + 4
	shr	$16, %eax
	movw	%ax, idt + 8 * VECTOR + 6
	lidt	idt_register
	movl	$0x1ff, 0xfee000f0		/* SVR: on */
	movl	$0xb, 0xfee003e0		/* divide by 1 */
	movl	$1 << 17 | VECTOR, 0xfee00320	/* periodic */
	movl	$50000, 0xfee00380
2:	sti
	hlt
	cli
	cmpb	$10, ticks
	jne	2b
	movl	$1 << 16, 0xfee00320
	PUT	'\n'
	movb	ticks, %al
	out	%al, $0xf4
tick:
	push	%eax
	push	%edx
	cmpb	$10, ticks		/* more may come before the timer is masked */
	je	3f
	incb	ticks
	PUT	'.'
3:	movl	$0, 0xfee000b0
	pop	%edx
	pop	%eax
	iret

	.section .data, "aw"
	.balign	8
gdt:
	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_register:
	.word	. - gdt - 1
	.long	gdt
idt_register:
	.word	8 * 256 - 1
	.long	idt
ticks:	.byte	0
	.section .bss, "aw", @nobits
	.balign	8
idt:	.skip	8 * 256
