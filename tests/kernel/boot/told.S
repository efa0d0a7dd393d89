/* SPDX-License-Identifier: GPL-2.0-only */
/* 64-bit: prints the command line and the initial RAM disk that boot_params, at RSI, tell of; then halts. */
start:
	mov	%rsi, %rbp
	mov	0x228(%rbp), %esi		/* hdr.cmd_line_ptr, and its upper half */
	mov	0xc8(%rbp), %eax
	shl	$32, %rax
	or	%rax, %rsi
	call	puts
	PUT	'|'
	mov	0x218(%rbp), %esi		/* hdr.ramdisk_image, ramdisk_size */
	mov	0x21c(%rbp), %ebx
1:	test	%ebx, %ebx
	jz	2f
	lodsb
	call	putc
	dec	%ebx
	jmp	1b
2:	movw	$0x18, %ax			/* __BOOT_DS: the descriptor is there to be loaded */
	movw	%ax, %ds
	PUT	'\n'
	cli
	hlt
