/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts and exceptions in long mode, each one logged by its handler.
 *
 * Contract
 *   In        real mode, at 0x1000:0; memory as it was loaded.
 *   Out       log: for each handler that was entered one entry of 16 quadwords; then a 1 is written to port 0x505 (QEMU's
 *             pvpanic device; nothing on the model), and the CPU halts.
 *   Memory    everything below 2 MiB is mapped to itself in 4 KiB pages, for user code too; ABSENT and the pages behind it
 *             are mapped as TRY needs them.
 */

#define KERNEL_CODE	0x10
#define KERNEL_DATA	0x18
#define USER_DATA	0x23
#define USER_CODE	0x2b
#define TSS		0x30	/* 16 bytes */
#define USER_CODE_32	0x43
#define CONFORMING	0x48
#define ABSENT_CODE	0x50
#define ABSENT_DATA	0x58
#define KERNEL_CODE_32	0x60
#define CALL_GATE	0x68	/* 16 bytes */
#define SMALL_TSS	0x78	/* 16 bytes */
#define BEYOND		0x400

#define STACK		0x60000
#define USER_STACK	0x62000
#define INNER_STACK	0x64008	/* RSP0, not aligned */
#define IST_STACK	0x66000
#define DOUBLE_STACK	0x68000
#define LOG		0x70000

#define ABSENT		0x50000	/* and the following pages: */
#define READ_ONLY	0x51000
#define SUPERVISOR	0x52000
#define NO_EXECUTE	0x53000
#define RESERVED	0x54000

#define FIRST_BACK	0x40	/* vectors from here on come back by IRETQ */
#define LAST_BACK	0x5f

	.macro	GATE_AT vector, handler, selector=KERNEL_CODE, access=0x8e, ist=0
	movq	$(\handler), %rax
	movw	%ax, idt + 16 * (\vector)
	movw	$\selector, idt + 16 * (\vector) + 2
	movw	$(\access << 8 | \ist), idt + 16 * (\vector) + 4
	shrq	$16, %rax
	movw	%ax, idt + 16 * (\vector) + 6
	shrq	$16, %rax
	movl	%eax, idt + 16 * (\vector) + 8
	.endm

	/* One attempt: the code up to DONE; its handler goes on behind DONE, at CPL 0 with a fresh stack. */
	.macro	TRY
	movq	$9f, recover
	.endm
	.macro	DONE
9:	incq	attempt
	.endm

	/* The same at CPL 3, in the code segment cs. */
	.macro	TRY_USER cs=USER_CODE flags=0x202
	TRY
	pushq	$USER_DATA
	pushq	$USER_STACK
	pushq	$\flags
	pushq	$\cs
	pushq	$1f
	iretq
1:
	.endm

	.section .text
	.globl	_start
	.code16
_start:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	gdt_pointer - _start
	movl	$0xb0, %eax			/* PAE, PGE, PSE */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	movl	$0x900, %eax			/* LME, NXE */
	xorl	%edx, %edx
	wrmsr
	movl	$0x80010011, %eax		/* PG, WP, ET, PE */
	movl	%eax, %cr0
	ljmpl	$KERNEL_CODE, $start_64

	.code64
start_64:
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	lldt	%ax
	movq	$STACK, %rsp
	movl	$TSS, %eax
	ltr	%ax

	/* 256 gates to 256 stubs of 16 bytes; from FIRST_BACK on for user code too. */
	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	shll	$4, %eax
	leaq	stubs(%rax), %rbx
	movw	%bx, idt(%rax)
	movw	$KERNEL_CODE, idt + 2(%rax)
	movw	$0x8e00, idt + 4(%rax)
	cmpl	$FIRST_BACK, %ecx
	jb	2f
	movw	$0xee00, idt + 4(%rax)
2:	shrl	$16, %ebx
	movw	%bx, idt + 6(%rax)
	incl	%ecx
	cmpl	$256, %ecx
	jb	1b
	lidt	idt_pointer
	movw	$0xee00, idt + 16 * 3 + 4	/* #BP: for user code */
	movw	$0x8e02, idt + 16 * 8 + 4	/* #DF: IST 2 */

	/* Exceptions at CPL 0, with and without an error code. */
	TRY
	xorl	%eax, %eax
	xorl	%edx, %edx
	divl	%edx
	DONE
	TRY
	ud2
	DONE
	TRY
	int3
	DONE
	TRY
	movl	$BEYOND, %eax
	movl	%eax, %ds
	DONE
	TRY
	movl	$0x14, %eax			/* there is no LDT */
	movl	%eax, %es
	DONE
	TRY
	movl	$ABSENT_DATA, %eax
	movl	%eax, %ds
	DONE
	TRY
	movl	$ABSENT_DATA, %eax
	movl	%eax, %ss
	DONE
	TRY
	pushfq
	orq	$0x100, (%rsp)			/* TF */
	popfq
	nop
	nop
	DONE
	TRY
	pushfq
	orq	$0x4000, (%rsp)			/* NT */
	popfq
	iretq					/* there are no tasks */
	DONE
	TRY
	movq	$1 << 63, %rax
	movq	(%rax), %rbx
	DONE

	/* #PF, with each bit of its error code. */
	TRY
	movl	ABSENT, %eax
	DONE
	TRY
	movl	%eax, ABSENT + 0xffe
	DONE
	TRY
	movl	%eax, READ_ONLY
	DONE
	TRY
	movl	RESERVED, %eax
	DONE
	TRY
	movl	%eax, RESERVED
	DONE
	TRY
	movq	$NO_EXECUTE, %rax
	jmp	*%rax
	DONE
	TRY
	movq	$ABSENT, %rax
	jmp	*%rax
	DONE
	TRY_USER
	movl	ABSENT, %eax
	DONE
	TRY_USER
	movl	%eax, ABSENT
	DONE
	TRY_USER
	movl	SUPERVISOR, %eax
	DONE
	TRY_USER
	movl	%eax, SUPERVISOR + 0x123
	DONE
	TRY_USER
	movl	%eax, READ_ONLY
	DONE
	TRY_USER
	movl	%eax, RESERVED
	DONE
	TRY_USER
	movq	$NO_EXECUTE, %rax
	jmp	*%rax
	DONE
	TRY_USER
	movq	$SUPERVISOR, %rax
	jmp	*%rax
	DONE

	/* INT n: back by IRETQ, through interrupt and trap gates, on each kind of stack. */
	TRY
	stc
	std
	int	$0x40
	cld
	jmp	9f
	DONE
	GATE_AT	0x41, stubs + 0x41 * 16, access=0xef
	TRY
	sti
	int	$0x41
	int	$0x40
	cli
	jmp	9f
	DONE
	GATE_AT	0x42, stubs + 0x42 * 16, access=0xee, ist=1
	TRY
	subq	$3, %rsp
	int	$0x42
	int	$0x40
	jmp	9f
	DONE
	TRY
	pushfq
	orq	$0x54000, (%rsp)		/* NT, RF and AC */
	popfq
	int	$0x40
	pushq	$2
	popfq
	jmp	9f
	DONE

	/* Gates that cannot be entered. */
	TRY
	lidt	short_idt_pointer
	int	$0x90
	DONE
	lidt	idt_pointer
	GATE_AT	0x50, stubs, access=0x6e
	TRY
	int	$0x50
	DONE
	.irp	type, 5, 6, 7, 0xc, 0x1e, 0
	GATE_AT	0x50, stubs, access=(0xe0 | \type)
	TRY
	int	$0x50
	DONE
	.endr
	.irp	selector, 0, 3, KERNEL_DATA, USER_CODE, BEYOND, 0x14, ABSENT_CODE, KERNEL_CODE_32, TSS
	GATE_AT	0x50, stubs, selector=\selector, access=0xee
	TRY
	int	$0x50
	DONE
	.endr
	TRY
	movl	$SMALL_TSS, %eax
	ltr	%ax
	int	$0x42				/* its IST 1 lies beyond the limit */
	DONE
	andb	$~2, gdt + TSS + 5		/* not busy */
	movl	$TSS, %eax
	ltr	%ax

	/* Double faults: #GP, #NP and #PF that cannot be delivered. */
	GATE_AT	13, stubs + 13 * 16, access=0x0e
	TRY
	movl	$BEYOND, %eax
	movl	%eax, %ds
	DONE
	GATE_AT	13, stubs + 13 * 16
	GATE_AT	14, stubs + 14 * 16, selector=KERNEL_DATA
	TRY
	movl	ABSENT, %eax
	DONE
	GATE_AT	14, stubs + 14 * 16
	TRY
	movq	$ABSENT + 0x40, %rsp
	movl	%eax, READ_ONLY			/* #PF for the push of a #PF */
	DONE
	TRY
	movq	$ABSENT + 0x40, %rsp
	int	$0x40				/* a plain #PF, but its own frame finds no stack either */
	DONE
	GATE_AT	14, stubs + 14 * 16, ist=1
	TRY
	movq	$ABSENT + 0x40, %rsp
	int	$0x40				/* #PF on a good stack */
	DONE
	TRY
	movq	$READ_ONLY + 0x1008, %rsp	/* the frame crosses into a page that may not be written */
	int	$0x40
	DONE
	GATE_AT	14, stubs + 14 * 16

	/* CPL 3 and back. */
	TRY_USER flags=0x246
	stc
	int	$0x40
	movl	%cs, %eax
	movl	%ss, %ebx
	int	$0x42
	ud2
	DONE
	TRY_USER
	int	$0x80				/* not one that comes back */
	DONE
	TRY_USER
	int	$0x30				/* DPL 0 */
	DONE
	TRY_USER
	int	$14				/* DPL 0, whatever its number */
	DONE
	TRY_USER
	int3
	DONE
	TRY_USER
	hlt
	DONE
	TRY_USER
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ds
	DONE
	TRY_USER
	movl	$ABSENT_DATA + 3, %eax
	movl	%eax, %ss
	DONE
	TRY_USER
	movq	$ABSENT + 0x40, %rsp		/* of no matter: the frame goes to RSP0 */
	int	$0x40
	ud2
	DONE
	GATE_AT	0x51, user_handler, selector=CONFORMING, access=0xee
	TRY_USER
	int	$0x51				/* stays at CPL 3, on its own stack */
	ud2
	DONE
	TRY_USER
	lcall	*far_pointer			/* through a call gate */
	ud2
	DONE
	TRY_USER
	movl	$USER_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	lcall	*far_pointer
	movl	$0, %edx
	divl	%edx
	DONE

	/* Compatibility mode, at CPL 3 and at CPL 0. */
	TRY_USER cs=USER_CODE_32
	.code32
	movl	$0x12345678, %eax
	int	$0x40
	pushl	%eax
	int	$0x42
	movb	$0x7f, %al
	addb	$1, %al
	into
	.code64
	DONE
	movw	$0xee00, idt + 16 * 4 + 4	/* #OF: for user code */
	TRY_USER cs=USER_CODE_32
	.code32
	movb	$0x7f, %al
	addb	$1, %al
	into
	.code64
	DONE
	TRY_USER cs=USER_CODE_32
	.code32
	movl	$bounds, %ebx
	movl	$10, %eax
	bound	%eax, (%ebx)
	.code64
	DONE
	TRY_USER cs=USER_CODE_32
	.code32
	movl	%eax, SUPERVISOR
	.code64
	DONE
	TRY_USER cs=USER_CODE_32
	.code32
	ljmp	$USER_CODE, $1f
	.code64
1:	movl	%cs, %eax
	int	$0x40
	ud2
	DONE
	TRY
	ljmp	*to_32
compatible:
	.code32
	int	$0x40
	pushl	$0x1234
	int	$0x42
	.byte	0x0f, 0x0b			/* ud2 */
	.code64
	DONE

	movl	$1, %eax
	movw	$0x505, %dx
	outb	%al, %dx
	cli
	hlt

user_handler:					/* in the conforming segment */
	movl	%cs, %eax
	movq	(%rsp), %rbx
	movq	8(%rsp), %rcx
	iretq

through_gate:					/* of the call gate */
	int	$0x40
	lretq

	/* Each pushes its vector: what lies above it is the frame, with an error code or without. */
	.balign	16
stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	pushq	$vector
	jmp	handler
	.set	vector, vector + 1
	.endr

handler:
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rsi
	pushq	%rdi
	leaq	40(%rsp), %rsi			/* the vector */
	movq	log_end, %rdi
	movq	attempt, %rax
	movq	%rax, (%rdi)
	leaq	8(%rsi), %rax
	movq	%rax, 8(%rdi)			/* RSP as the handler found it */
	.set	at, 0
	.rept	7				/* the vector, and six quadwords above */
	movq	at(%rsi), %rax
	movq	%rax, 16 + at(%rdi)
	.set	at, at + 8
	.endr
	movl	%cs, %eax
	movl	%eax, 72(%rdi)
	movl	%ss, %eax
	movl	%eax, 76(%rdi)
	pushfq
	popq	80(%rdi)
	movq	%cr2, %rax
	movq	%rax, 88(%rdi)
	movl	%ds, %eax
	movl	%eax, 96(%rdi)
	movl	%es, %eax
	movl	%eax, 100(%rdi)
	movq	32(%rsp), %rax
	movq	%rax, 104(%rdi)			/* RAX and RBX of what was interrupted */
	movq	%rbx, 112(%rdi)
	subq	$-128, log_end
	xorl	%eax, %eax
	movq	%rax, %cr2
	cmpb	$FIRST_BACK, (%rsi)
	jb	1f
	cmpb	$LAST_BACK, (%rsi)
	ja	1f
	popq	%rdi
	popq	%rsi
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$8, %rsp
	iretq
1:	cld
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movq	$STACK, %rsp
	pushq	$2
	popfq
	jmp	*recover

	.balign	16
recover:	.quad 0
attempt:	.quad 0
log_end:	.quad LOG
far_pointer:	.long 0; .word CALL_GATE + 3
to_32:		.long compatible; .word KERNEL_CODE_32
bounds:		.long 1, 5

	.balign	16
gdt:	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff		/* KERNEL_CODE */
	.quad	0x00cf93000000ffff		/* KERNEL_DATA */
	.quad	0x00cff3000000ffff		/* USER_DATA */
	.quad	0x00affb000000ffff		/* USER_CODE */
	.word	0x67, tss - 0x10000, 0x8901, 0, 0, 0, 0, 0
	.quad	0x00cffb000000ffff		/* USER_CODE_32 */
	.quad	0x00af9f000000ffff		/* CONFORMING */
	.quad	0x00af1b000000ffff		/* ABSENT_CODE */
	.quad	0x00cf73000000ffff		/* ABSENT_DATA */
	.quad	0x00cf9b000000ffff		/* KERNEL_CODE_32 */
	.word	through_gate - 0x10000, KERNEL_CODE, 0xec00, 1
	.quad	0
	.word	0x23, tss - 0x10000, 0x8901, 0, 0, 0, 0, 0
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
	.balign	8
	.word	0, 0, 0
idt_pointer:
	.word	0xfff
	.quad	idt
short_idt_pointer:
	.word	0x8ff
	.quad	idt

	.balign	16
	.long	0
tss:	.long	0
	.quad	INNER_STACK, 0, 0, 0
	.quad	IST_STACK, DOUBLE_STACK
	.fill	104 - 4 - 48, 1, 0
	.balign	16
idt:	.fill	4096, 1, 0

	.balign	4096
pml4:	.quad	pdpt + 7
	.fill	511, 8, 0
pdpt:	.quad	directory + 7
	.fill	511, 8, 0
directory:
	.quad	table + 7
	.fill	511, 8, 0
table:
	.set	page, 0
	.rept	512
	.if	page == ABSENT
	.quad	page + 6
	.elseif	page == READ_ONLY
	.quad	page + 5
	.elseif	page == SUPERVISOR
	.quad	page + 3
	.elseif	page == NO_EXECUTE
	.quad	page + 7 + (1 << 63)
	.elseif	page == RESERVED
	.quad	page + 7 + (1 << 45)
	.else
	.quad	page + 7
	.endif
	.set	page, page + 4096
	.endr
