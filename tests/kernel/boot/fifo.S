/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a driver of the first serial port finds of its FIFO: the interrupt identification before it is enabled and
 * afterwards, in hex; and 16 bytes at a time, sent after one look at the line status.
 */
	.macro	IIR				/* prints it; bit 0 (no interrupt pending) is always set here */
	mov	$0x3fa, %dx
	xor	%eax, %eax
	in	%dx, %al
	mov	%eax, %ebx
	call	put_hex
	PUT	'\n'
	.endm
start:
	mov	$stack, %esp
	mov	$0x3fa, %dx
	xor	%eax, %eax
	out	%al, %dx			/* no FIFO */
	IIR
	mov	$0x3fa, %dx
	mov	$1, %al
	out	%al, %dx			/* FCR: enable it */
	IIR
	mov	$text, %esi
	mov	$end - text, %ecx
1:	mov	$0x3fd, %dx
	in	%dx, %al
	test	$0x20, %al
	jz	1b
	mov	$16, %ebx
	mov	$0x3f8, %dx
2:	lodsb
	out	%al, %dx
	dec	%ecx
	jz	3f
	dec	%ebx
	jnz	2b
	jmp	1b
3:	mov	$0x3fd, %dx
	in	%dx, %al
	test	$0x40, %al			/* all of it is sent */
	jz	3b
	LEAVE	21

	.section .data, "aw"
text:	.ascii	"As many bytes as the FIFO holds, after each look; none of them may be lost on the way.\n"
end:
	.section .bss, "aw", @nobits
	.balign	16
	.skip	256
stack:
