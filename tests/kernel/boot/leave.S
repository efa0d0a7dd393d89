/* SPDX-License-Identifier: GPL-2.0-only */
/* Prints, and leaves with 0x10, which kernels under test call success. */
start:
	PUT	'x'
	LEAVE	0x10
	PUT	'y'
