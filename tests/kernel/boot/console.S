/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every program of this folder begins with: the first serial port, polled, and the debug exit.
 *
 * 16-, 32- and 64-bit code alike. A program's first instruction is at the symbol start, and its mode is the symbol BITS.
 */
	.macro	PUT character			/* changes AX and DX */
	mov	$\character, %al
	call	putc
	.endm

	.macro	LEAVE value
	mov	$\value, %al
	out	%al, $0xf4
	.endm

	.section .text, "ax"
	.globl	start, putc, puts, put_hex
putc:						/* AL; changes AH and DX */
	mov	%al, %ah
	mov	$0x3fd, %dx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	mov	%ah, %al
	mov	$0x3f8, %dx
	out	%al, %dx
	ret

puts:						/* string at ESI or RSI, to its NUL; changes it, AX and DX */
	lodsb
	test	%al, %al
	jz	1f
	call	putc
	jmp	puts
1:	ret

put_hex:					/* EBX; changes EBX, ECX, AX and DX */
	mov	$8, %ecx
1:	rol	$4, %ebx
	mov	%bl, %al
	and	$15, %al
	cmp	$10, %al
	jb	2f
	add	$39, %al
2:	add	$48, %al
	call	putc
	dec	%ecx
	jnz	1b
	ret
