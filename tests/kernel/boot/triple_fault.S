/* SPDX-License-Identifier: GPL-2.0-only */
/* Prints a line, and raises #BP where there is no IDT. */
start:
	PUT	'\n'
	lidt	nothing
	int3
nothing:
	.skip	10
