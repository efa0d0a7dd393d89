/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A multiboot image that stores what it can see of the CPU it was entered on, and halts.
 *
 * Contract
 *   Placed    at 1 MiB; the header's addresses are there in any case, and mean something if flags has bit 16.
 *   In        32-bit protected mode, flat segments, no paging.
 *   Out       every field of the record, done = 1 last; halted at the symbol stop.
 */

	.section .text, "ax"
	.code32
	.globl _start, stop, record
image:
	.quad	0x1122334455667788		/* the header need not be the first thing in a file */
header:
	.long	0x1badb002, flags, checksum
	.long	header, image, _edata, _end, _start
	.long	0, 0, 0, 0			/* QEMU wants the fields of a video mode to lie in the file, too */

	.macro	SAVE offset source
	movl	\source, record + \offset
	.endm
_start:
	SAVE	0, %eax
	SAVE	4, %ebx
	movl	$stack_end, %esp
	pushfl
	popl	%eax
	SAVE	8, %eax
	movl	%cr0, %eax
	SAVE	12, %eax
	movl	%cr4, %eax
	SAVE	16, %eax
	movl	$0xc0000080, %ecx		/* EFER */
	rdmsr
	SAVE	20, %eax
	/* What the descriptors behind CS, DS, ES, SS, FS and GS say: access rights and limit. */
	at = 24
	.irp	name, cs, ds, es, ss, fs, gs
	movl	%\name, %ecx
	larl	%ecx, %eax
	SAVE	at, %eax
	lsll	%ecx, %eax
	SAVE	at + 4, %eax
	at = at + 8
	.endr
	SAVE	72, $1
stop:
	hlt
	jmp	stop

	.section .data, "aw"
	.long	0x55aa55aa
	.section .bss, "aw", @nobits
	.balign 16
record:
	.skip	80
	.skip	256
stack_end:
