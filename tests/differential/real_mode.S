/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts and exceptions in real mode, each one logged by its handler.
 *
 * Contract
 *   In        real mode, at 0x1000:0; memory as it was loaded.
 *   Out       log: for each handler that was entered one entry of 16 words; then a 1 is written to port 0x505 (QEMU's
 *             pvpanic device; nothing on the model), and the CPU halts.
 *   Memory    the vector table at 0, and a second one at SECOND_TABLE; handlers run in segments of their own.
 */

#define STACK_SEGMENT	0x6000
#define STACK		0x1000
#define LOG_SEGMENT	0x7000
#define SECOND_TABLE	0x3000
#define HANDLERS	0x1010	/* the segment in which handlers run: the same bytes, at other offsets */
#define SHIFT		0x100
#define FIRST_BACK	0x40	/* vectors from here on come back by IRET */

	.macro	TRY
	movw	$(9f - _start), recover - _start
	.endm
	.macro	DONE
9:	incw	attempt - _start
	.endm

	.section .text
	.globl	_start
	.code16
_start:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	movw	$STACK_SEGMENT, %ax
	movw	%ax, %ss
	movw	$STACK, %sp

	/* Both tables: 256 vectors, to stubs of 8 bytes; the second one through segment 0x1000. */
	xorw	%ax, %ax
	movw	%ax, %es
	xorw	%cx, %cx
1:	movw	%cx, %bx
	shlw	$2, %bx
	movw	%cx, %ax
	shlw	$3, %ax
	addw	$(stubs - _start), %ax
	movw	%ax, %es:SECOND_TABLE(%bx)
	movw	$0x1000, %es:SECOND_TABLE + 2(%bx)
	subw	$SHIFT, %ax
	movw	%ax, %es:(%bx)
	movw	$HANDLERS, %es:2(%bx)
	incw	%cx
	cmpw	$256, %cx
	jb	1b

	TRY
	xorw	%ax, %ax
	xorw	%dx, %dx
	divw	%dx
	DONE
	TRY
	ud2
	DONE
	TRY
	int3
	DONE
	TRY
	movb	$0x7f, %al
	addb	$1, %al
	into
	DONE
	TRY
	movw	$10, %ax
	bound	%ax, bounds - _start
	DONE
	TRY
	pushfw
	movw	%sp, %bp
	orw	$0x100, (%bp)			/* TF */
	popfw
	nop
	nop
	DONE
	TRY
	stc
	std
	sti
	int	$0x40
	pushfw					/* all as it was */
	popw	%bx
	int	$0x41
	cld
	cli
	jmp	9f
	DONE
	TRY
	pushfw
	movw	%sp, %bp
	orw	$0x7300, (%bp)			/* NT, IOPL, TF and IF, at the INT itself */
	popfw
	int	$0x42				/* which does not trap, but what comes behind it does */
	DONE
	TRY
	movw	$4, %sp				/* the frame wraps in its segment */
	int	$0x43
	movw	%sp, %bx
	int	$0x30
	DONE
	TRY
	int	$0x80
	DONE
	lidtl	second_table - _start
	TRY
	int	$0x44
	ud2
	DONE
	lidtl	short_table - _start
	TRY
	int	$0x4f				/* the last one within the limit */
	int	$0x50				/* beyond it: #GP, without an error code */
	DONE
	lidtl	first_table - _start
	TRY
	xorl	%eax, %eax
	movl	%eax, %cr3
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0			/* protected mode and back: a stub of real mode's segments stays */
	andl	$~1, %eax
	movl	%eax, %cr0
	int	$0x45
	ud2
	DONE

	movb	$1, %al
	movw	$0x505, %dx
	outb	%al, %dx
	cli
	hlt

	/* Each pushes its vector; what lies above it is the frame. */
	.balign	8
stubs:
	.set	vector, 0
	.rept	256
	.balign	8
	pushw	$vector
	jmp	handler
	.set	vector, vector + 1
	.endr

handler:
	pushw	%ax
	pushw	%bx
	pushw	%di
	pushw	%bp
	pushw	%es
	movw	%sp, %bp
	movw	$LOG_SEGMENT, %ax
	movw	%ax, %es
	movw	log_end - _start, %di
	pushfw
	popw	%es:18(%di)
	movw	attempt - _start, %ax
	movw	%ax, %es:(%di)
	leaw	12(%bp), %ax
	movw	%ax, %es:2(%di)			/* SP as the handler found it */
	.set	at, 0
	.rept	5				/* the vector, and four words above */
	movw	at + 10(%bp), %ax
	movw	%ax, %es:at + 4(%di)
	.set	at, at + 2
	.endr
	movw	%cs, %es:14(%di)
	movw	%ss, %es:16(%di)
	movw	%ds, %es:20(%di)
	movw	8(%bp), %ax
	movw	%ax, %es:22(%di)		/* AX and BX of what was interrupted */
	movw	6(%bp), %ax
	movw	%ax, %es:24(%di)
	addw	$32, log_end - _start
	cmpb	$FIRST_BACK, 10(%bp)
	jb	1f
	cmpb	$0x7f, 10(%bp)
	ja	1f
	popw	%es
	popw	%bp
	popw	%di
	popw	%bx
	popw	%ax
	leaw	2(%esp), %sp			/* leaves the flags */
	iretw
1:	movw	$STACK, %sp
	pushw	$2
	popfw
	pushw	$0x1000
	pushw	recover - _start
	lretw

	.balign	16
recover:	.word 0
attempt:	.word 0
log_end:	.word 0
bounds:		.word 1, 5
first_table:	.word 0x3ff
		.long 0
second_table:	.word 0x3ff
		.long SECOND_TABLE
short_table:	.word 0x13f
		.long SECOND_TABLE
