/* SPDX-License-Identifier: GPL-2.0-only */
/* Prints every byte that arrives, plus 1, until it is a full stop; leaves with their number. */
start:
	xor	%ebx, %ebx
1:	mov	$0x3fd, %dx
	in	%dx, %al
	test	$1, %al
	jz	1b
	mov	$0x3f8, %dx
	in	%dx, %al
	cmp	$'.', %al
	je	2f
	inc	%ebx
	inc	%al
	call	putc
	jmp	1b
2:	mov	%bl, %al
	out	%al, $0xf4
