/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Brings a multiboot image to 64-bit mode and calls `program`.
 *
 * Contract
 *   In        32-bit protected mode, flat segments, paging off, as the multiboot specification has it.
 *   Memory    the first 64 MiB and the local APIC are mapped to themselves by pages of 2 MiB. The first page holds text, and is the only one
 *             that may be executed: a store to memory that may be executed is ten times slower.
 *   Out       `begin` is reached in 64-bit mode with RDI = rounds; at the end 0 is written to port 0xf4.
 */
	.code32
	.globl	start, begin, rounds, arena
	.section .header, "a"
	.balign	4
header:
	.long	0x1badb002, 0x10003, -(0x1badb002 + 0x10003)
	.long	header, header, _edata, _end, start
	.long	0, 0, 0, 0, 0			/* a video mode, which QEMU wants to lie in the file */
	.balign	8
rounds:	.quad	0				/* whoever starts the image writes it here */

	.text
start:
	movl	$pointers + 3, tables
	movl	$directory + 3, pointers
	movl	$0x83, directory		/* present, writable, 2 MiB */
	movl	$1, %ecx
1:	movl	%ecx, %eax
	shll	$21, %eax
	orl	$0x83, %eax
	movl	%eax, directory(, %ecx, 8)
	movl	$1 << 31, directory + 4(, %ecx, 8)	/* XD */
	incl	%ecx
	cmpl	$32, %ecx
	jne	1b
	movl	$devices + 3, pointers + 8 * 3
	movl	$0xfee00083, devices + 8 * 0x1f7	/* the local APIC's page */
	movl	$1 << 31, devices + 8 * 0x1f7 + 4
	movl	%cr4, %eax
	orl	$1 << 5, %eax			/* PAE */
	movl	%eax, %cr4
	movl	$tables, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx		/* EFER */
	rdmsr
	orl	$1 << 8 | 1 << 11, %eax		/* LME, NXE */
	wrmsr
	movl	%cr0, %eax
	orl	$1 << 31, %eax			/* PG */
	movl	%eax, %cr0
	lgdt	gdt_register
	ljmp	$8, $startup_64
	.code64
startup_64:
	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$stack, %esp
	movq	rounds, %rdi
begin:	call	program
	xorl	%eax, %eax
	outb	%al, $0xf4
	hlt

	.section .rodata, "a"
	.balign	8
gdt:	.quad	0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_register:
	.word	. - gdt - 1
	.quad	gdt

	.section .bss, "aw", @nobits
	.balign	4096
tables:	.skip	4096
pointers:
	.skip	4096
directory:
	.skip	4096
devices:
	.skip	4096
	.skip	4096
stack:
arena:	.skip	0x400000
