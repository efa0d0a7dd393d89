/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Starts the CPU with the APIC id 1 by INIT and two SIPIs, with code that it has copied to 0x8000. That CPU prints in
 * real mode; then it halts, and the first CPU prints and leaves.
 */
	FLAG = 0x9000
start:
	movl	$0, FLAG
	mov	$ap, %esi
	mov	$0x8000, %edi
	mov	$(ap_end - ap), %ecx
	rep movsb
	PUT	'0'
	movl	$1 << 24, 0xfee00310
	movl	$0x4500, 0xfee00300
	call	delay
	movl	$1 << 24, 0xfee00310
	movl	$0x4608, 0xfee00300
	call	delay
	movl	$1 << 24, 0xfee00310
	movl	$0x4608, 0xfee00300
1:	pause
	cmpl	$0x1234, FLAG
	jne	1b
	mov	0xfee00020, %ebx
	call	put_hex
	PUT	'\n'
	LEAVE	2
delay:
	mov	$20000, %ecx
1:	pause
	loop	1b
	ret

	.code16
ap:
	mov	$0x3fd, %dx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	mov	$'1', %al
	mov	$0x3f8, %dx
	out	%al, %dx
	xor	%ax, %ax
	mov	%ax, %ds
	movw	$0x1234, FLAG
	cli
	hlt
ap_end:
	.code32
