/* SPDX-License-Identifier: GPL-2.0-only */
/* Prints the command line and each module with its own, as the information structure at EBX tells them; leaves with 1. */
start:
	mov	%ebx, %ebp
	mov	16(%ebp), %esi
	call	puts
	PUT	'\n'
	mov	24(%ebp), %edi			/* mods_addr; mods_count */
	mov	20(%ebp), %ecx
1:	jecxz	3f
	mov	8(%edi), %esi
	call	puts
	PUT	'='
	mov	(%edi), %esi
2:	cmp	4(%edi), %esi
	je	4f
	lodsb
	call	putc
	jmp	2b
4:	PUT	'\n'
	add	$16, %edi
	dec	%ecx
	jmp	1b
3:	LEAVE	1
