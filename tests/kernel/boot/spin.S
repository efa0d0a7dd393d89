/* SPDX-License-Identifier: GPL-2.0-only */
/* Prints, and never ends. */
start:
	PUT	's'
1:	pause
	jmp	1b
