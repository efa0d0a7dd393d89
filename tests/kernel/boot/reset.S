/* SPDX-License-Identifier: GPL-2.0-only */
/* Prints, and resets the platform through the chipset's reset control register. */
start:
	PUT	'r'
	mov	$0xcf9, %dx
	mov	$6, %al
	out	%al, %dx
1:	jmp	1b
