/* SPDX-License-Identifier: GPL-2.0-only */
/* Prints what a port and an address read where there is nothing, and halts. */
start:
	mov	$0x2e8, %dx			/* the fourth serial port */
	inl	%dx, %eax
	mov	%eax, %ebx
	call	put_hex
	mov	$0xe0000000, %esi
	mov	(%esi), %ebx
	call	put_hex
	PUT	'\n'
	cli
	hlt
