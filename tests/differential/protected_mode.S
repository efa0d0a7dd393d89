/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts, exceptions, gates and tasks in 32-bit protected mode and in virtual-8086 mode, each one logged.
 *
 * Contract
 *   In        real mode, at 0x1000:0; memory as it was loaded; paging: 0 none, 1 32-bit, 2 PAE.
 *   Out       log: for each handler and task that was entered, one entry of 32 doublewords; then a 1 is written to port
 *             0x505 (QEMU's pvpanic device; nothing on the model), and the CPU halts.
 *   Memory    with paging, everything below 2 MiB is mapped to itself in 4 KiB pages, for user code too, but for the
 *             pages from ABSENT on.
 */

#define KERNEL_CODE	0x08
#define KERNEL_DATA	0x10
#define USER_CODE	0x1b
#define USER_DATA	0x23
#define MAIN_TSS	0x28
#define BASED_CODE	0x30	/* begins at the program */
#define MIDDLE_CODE	0x39	/* CPL 1 */
#define MIDDLE_DATA	0x41
#define CONFORMING	0x48
#define ABSENT_CODE	0x50
#define ABSENT_DATA	0x58
#define STACK_16	0x60	/* begins at 0x58000 */
#define CALL_GATE	0x68
#define TASK_TSS	0x70
#define TASK_GATE	0x78
#define JUMP_TSS	0x80
#define PLAIN_TSS	0x90
#define TASK_16		0x98
#define V86_TSS		0xa0
#define BAD_TSS		0xa8
#define LEAVE_TSS	0xd0
#define SHORT_TSS	0xb0
#define ABSENT_TSS	0xb8
#define LDT		0xc0
#define READ_ONLY_DATA	0xc8
#define FAULT_TSS_FOR(vector)	(0xd8 + 8 * ((vector) & 7))	/* the same task, by a selector for each of 8 to 14 */
#define BEYOND		0x400
#define LOCAL_CODE	0x0c	/* of the LDT */
#define LOCAL_DATA	0x14

#define STACK		0x60000
#define USER_STACK	0x62000
#define INNER_STACK	0x64000
#define MIDDLE_STACK	0x66000
#define TASK_STACK	0x68000
#define FAULT_STACK	0x69000
#define PLAIN_STACK	0x6a000
#define JUMP_STACK	0x6b000
#define NARROW_STACK	0x6c00	/* of TASK_16, in STACK_16 */
#define LOG		0x70000

#define ABSENT		0x50000	/* and the following pages: */
#define READ_ONLY	0x51000
#define SUPERVISOR	0x52000

#define FIRST_BACK	0x40	/* vectors from here on come back by IRETL */
#define FIRST_NARROW	0x60	/* and from here on by IRETW */
#define FIRST_DEAD	0x70
#define MARK		0x100	/* what a task logs in place of a vector */

	.macro	GATE_AT vector, handler, selector=KERNEL_CODE, access=0x8e
	movl	$(\handler), %eax
	movw	%ax, idt + 8 * (\vector)
	movw	$\selector, idt + 8 * (\vector) + 2
	movw	$(\access << 8), idt + 8 * (\vector) + 4
	shrl	$16, %eax
	movw	%ax, idt + 8 * (\vector) + 6
	.endm
	.macro	TO_TASK vector, selector, access=0x85
	GATE_AT	\vector, 0, selector=\selector, access=\access
	.endm

	/* One attempt: the code up to DONE; its handler goes on behind DONE, at CPL 0 with a fresh stack. */
	.macro	TRY
	movl	$9f, recover
	.endm
	.macro	DONE
9:	incl	attempt
	.endm

	/* The same at CPL 3. */
	.macro	TRY_USER flags=0x202
	TRY
	pushl	$USER_DATA
	pushl	$USER_STACK
	pushl	$\flags
	pushl	$USER_CODE
	pushl	$1f
	iretl
1:
	.endm

	/* The same in virtual-8086 mode. */
	.macro	TRY_V86 flags=0x23202
	TRY
	pushl	$0x4444				/* GS, FS, DS, ES */
	pushl	$0x3333
	pushl	$0x1000
	pushl	$0x2222
	pushl	$0x6200
	pushl	$0xff0
	pushl	$\flags
	pushl	$0x1000
	pushl	$(1f - _start)
	iretl
	.code16
1:
	.endm
	.macro	DONE_V86
	.code32
	DONE
	.endm

	/* IRETL, CALL or JMP to a task: not all emulators know the flags then, but for those that were popped last. */
	.macro	SWITCH instruction:vararg
	pushfl
	popfl
	\instruction
	.endm

	.section .text
	.globl	_start
	.code16
_start:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	gdt_pointer - _start
	movl	$0x11, %eax			/* ET, PE */
	movl	%eax, %cr0
	ljmpl	$KERNEL_CODE, $start_32

	.code32
start_32:
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	$STACK, %esp
	movl	$LDT, %eax
	lldt	%ax
	movl	$MAIN_TSS, %eax
	ltr	%ax

	movl	$0x10, %edx			/* CR4: PSE */
	movl	$directory, %ebx
	movl	$second_directory, %ecx
	cmpl	$2, paging
	jb	1f
	movl	$0x30, %edx			/* and PAE */
	movl	$pdpt, %ebx
	movl	$second_pdpt, %ecx
1:	movl	%edx, %cr4
	movl	%ebx, %cr3
	.irp	one, main_tss, jump_tss, fault_tss, plain_tss, leave_tss, bad_tss
	movl	%ebx, \one + 28
	.endr
	.irp	one, task_tss, v86_tss		/* other tables, that map the same */
	movl	%ecx, \one + 28
	.endr
	cmpl	$0, paging
	je	1f
	movl	$0x80010011, %eax
	movl	%eax, %cr0
1:
	/* 256 gates to 256 stubs of 16 bytes; from FIRST_BACK on for user code too. */
	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	shll	$4, %eax
	leal	stubs(%eax), %ebx
	movw	%bx, idt(, %ecx, 8)
	movw	$KERNEL_CODE, idt + 2(, %ecx, 8)
	movw	$0x8e00, idt + 4(, %ecx, 8)
	cmpl	$FIRST_BACK, %ecx
	jb	2f
	movw	$0xee00, idt + 4(, %ecx, 8)
2:	shrl	$16, %ebx
	movw	%bx, idt + 6(, %ecx, 8)
	incl	%ecx
	cmpl	$256, %ecx
	jb	1b
	lidt	idt_pointer
	movw	$0xee00, idt + 8 * 3 + 4	/* #BP and #OF: for user code */
	movw	$0xee00, idt + 8 * 4 + 4

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
	movb	$0x7f, %al
	addb	$1, %al
	into
	DONE
	TRY
	movl	$10, %eax
	bound	%eax, bounds
	DONE
	.irp	selector, BEYOND, 0x1c, ABSENT_DATA, MAIN_TSS
	TRY
	movl	$\selector, %eax
	movl	%eax, %ds
	DONE
	.endr
	.irp	selector, 0, ABSENT_DATA, READ_ONLY_DATA, USER_DATA
	TRY
	movl	$\selector, %eax
	movl	%eax, %ss
	DONE
	.endr
	.irp	selector, BEYOND, KERNEL_DATA, ABSENT_CODE, ABSENT_TSS, SHORT_TSS, MAIN_TSS
	TRY
	ljmp	$\selector, $0
	DONE
	.endr
	TRY
	pushfl
	orl	$0x100, (%esp)			/* TF */
	popfl
	nop
	nop
	DONE

	cmpl	$0, paging
	je	without_pages
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
	movl	$ABSENT, %eax
	jmp	*%eax
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
	TO_TASK	8, PLAIN_TSS
	TRY
	movl	$ABSENT + 0x20, %esp
	movl	%eax, READ_ONLY			/* no stack for #PF: #DF, through a task gate */
	DONE
	TO_TASK	14, FAULT_TSS_FOR(14)
	TRY
	movl	$READ_ONLY + 0x1008, %esp	/* the frame crosses into a page that may not be written */
	int	$0x40
	DONE
	GATE_AT	14, stubs + 14 * 16
	movb	$0x65, idt + 8 * 0x40 + 5	/* not there */
	TRY_V86
	int	$0x40
	DONE_V86
	movb	$0xee, idt + 8 * 0x40 + 5
without_pages:

	/* INT n: back by IRET, through each kind of gate. */
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
	GATE_AT	0x60, stubs + 0x60 * 16 - _start, selector=BASED_CODE, access=0xe6
	GATE_AT	0x61, stubs + 0x61 * 16 - _start, selector=BASED_CODE, access=0xe7
	TRY
	ljmp	$BASED_CODE, $(1f - _start)
1:	sti
	int	$0x60
	int	$0x61
	int	$0x40
	cli
	ljmp	$KERNEL_CODE, $9f
	DONE
	TRY
	movl	$STACK_16, %eax
	movl	%eax, %ss
	movl	$0x8000, %esp
	int	$0x40
	ljmp	$BASED_CODE, $(1f - _start)
1:	int	$0x60
	ljmp	$KERNEL_CODE, $2f
2:	movl	$4, %esp			/* wraps within 64 KiB */
	int	$0x40
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ss
	movl	$STACK, %esp
	jmp	9f
	DONE
	TRY
	pushfl
	orl	$0x54000, (%esp)		/* NT, RF and AC */
	popfl
	int	$0x40
	pushl	$2
	popfl
	jmp	9f
	DONE
	GATE_AT	0x51, stubs + 0x51 * 16, selector=LOCAL_CODE, access=0xee
	TRY
	int	$0x51
	jmp	9f
	DONE

	/* Gates that cannot be entered. */
	TRY
	lidt	short_idt_pointer
	int	$0x90
	DONE
	lidt	idt_pointer
	.irp	access, 0x6e, 0x65, 0xe0, 0xe4, 0xe9, 0xec, 0xfe
	GATE_AT	0x70, stubs, access=\access
	TRY
	int	$0x70
	DONE
	.endr
	.irp	selector, 0, 3, KERNEL_DATA, USER_CODE, MIDDLE_CODE, BEYOND, 0x1c, ABSENT_CODE, MAIN_TSS
	GATE_AT	0x70, stubs, selector=\selector, access=0xee
	TRY
	int	$0x70
	DONE
	.endr
	.irp	selector, 0, KERNEL_CODE, MAIN_TSS, LDT, TASK_GATE, BEYOND, LOCAL_CODE, ABSENT_TSS, SHORT_TSS
	TO_TASK	0x70, \selector, access=0xe5
	TRY
	int	$0x70
	DONE
	.endr

	/* Between privilege levels, with the stacks of the TSS. */
	TRY_USER flags=0x246
	stc
	int	$0x40
	movl	%cs, %eax
	movl	%ss, %ebx
	int	$0x41
	ud2
	DONE
	TRY_USER
	int	$0x80
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
	movb	$0x7f, %al
	addb	$1, %al
	into
	DONE
	TRY_USER
	hlt
	DONE
	TRY_USER
	cli
	DONE
	TRY_USER
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ds
	DONE
	GATE_AT	0x70, user_handler, selector=CONFORMING, access=0xee
	TRY_USER
	int	$0x70				/* stays at CPL 3, on its own stack */
	ud2
	DONE
	GATE_AT	0x70, middle_handler, selector=MIDDLE_CODE, access=0xee
	TRY_USER
	int	$0x70				/* CPL 1, and from there CPL 0 */
	ud2
	DONE
	.irp	selector, 0, 3, BEYOND, ABSENT_DATA, READ_ONLY_DATA, KERNEL_DATA, USER_DATA, MIDDLE_DATA ^ 2, MIDDLE_CODE
	movw	$\selector, main_tss + 16	/* SS1 */
	TRY_USER
	int	$0x70
	DONE
	.endr
	movw	$(ABSENT_DATA + 1), main_tss + 16
	andb	$0x9f, gdt + ABSENT_DATA + 5	/* DPL 1 */
	orb	$0x20, gdt + ABSENT_DATA + 5
	TRY_USER
	int	$0x70
	DONE
	movw	$MIDDLE_DATA, main_tss + 16
	GATE_AT	0x62, stubs + 0x62 * 16 - _start, selector=BASED_CODE, access=0xe6
	TRY_USER
	int	$0x62				/* a 16-bit frame for another stack, which only IRETW would take */
	DONE
	TRY_USER
	pushl	$0x11111111
	pushl	$0x22222222
	lcall	$CALL_GATE, $0
	int	$0x40
	ud2
	DONE
	TRY
	lcall	$CALL_GATE, $0			/* at the same level, without another stack */
	movl	%esp, %eax
	int	$0x40
	jmp	9f
	DONE

	/* Tasks: there and back by INT and IRET, CALL and IRET, JMP and JMP. */
	TO_TASK	0x70, TASK_TSS, access=0xe5
	TRY
	movl	$0xaaaaaaaa, %eax
	movl	$0xbbbbbbbb, %ebx
	movl	$0xd0d0d0d0, %ebp
	stc
	int	$0x70
	int	$0x40				/* all as it was */
	int	$0x70
	int	$0x40
	jmp	9f
	DONE
	TRY_USER
	int	$0x70
	int	$0x40
	ud2
	DONE
	TRY
	SWITCH	lcall $TASK_TSS, $0
	SWITCH	lcall $TASK_GATE, $0
	int	$0x40
	SWITCH	ljmp $JUMP_TSS, $0
	int	$0x40
	SWITCH	ljmp $JUMP_TSS, $0
	jmp	9f
	DONE
	TO_TASK	0x70, TASK_16, access=0xe5
	TO_TASK	0x71, LEAVE_TSS, access=0xe5
	TRY
	int	$0x70				/* goes on to 0x71 */
	DONE
	TO_TASK	0x70, V86_TSS, access=0xe5
	TRY
	int	$0x70				/* into virtual-8086 mode, whose #UD comes back here */
	DONE
	movw	$MAIN_TSS, %ax
	andb	$~2, gdt + MAIN_TSS + 5
	andb	$~2, gdt + V86_TSS + 5
	ltr	%ax
	movl	main_tss + 28, %eax
	movl	%eax, %cr3

	/* Exceptions through task gates, with an error code and without. */
	TO_TASK	6, PLAIN_TSS
	TRY
	ud2
	DONE
	TRY_USER
	ud2
	DONE
	TRY_V86
	ud2
	DONE_V86
	GATE_AT	6, stubs + 6 * 16
	TO_TASK	13, FAULT_TSS_FOR(13)
	TRY_USER
	int	$0x30
	DONE
	TRY
	movl	$BEYOND, %eax
	movl	%eax, %ds
	DONE
	GATE_AT	13, stubs + 13 * 16, access=0x0e
	TO_TASK	8, FAULT_TSS_FOR(8)		/* #DF, since #GP has no gate */
	TRY
	movl	$BEYOND, %eax
	movl	%eax, %ds
	DONE
	TO_TASK	13, FAULT_TSS_FOR(13)

	/* New tasks with something wrong: the exception belongs to the new task. */
	.irp	vector, 10, 11, 12
	TO_TASK	\vector, FAULT_TSS_FOR(\vector)
	.endr
	TO_TASK	0x70, BAD_TSS, access=0xe5
	.macro	BAD_TASK offset, selector
	TRY
	movw	$(\selector), bad_tss + \offset
	int	$0x70
	DONE
	.endm
	.irp	selector, BEYOND, KERNEL_DATA, LOCAL_DATA
	BAD_TASK 96, \selector			/* LDT */
	.endr
	movw	$0, bad_tss + 96
	.irp	selector, 0, BEYOND, KERNEL_DATA, KERNEL_CODE + 3, USER_CODE & ~3, ABSENT_CODE
	BAD_TASK 76, \selector			/* CS */
	.endr
	movw	$KERNEL_CODE, bad_tss + 76
	.irp	selector, 0, BEYOND, KERNEL_CODE, READ_ONLY_DATA, KERNEL_DATA + 1, USER_DATA, USER_DATA & ~3
	BAD_TASK 80, \selector			/* SS */
	.endr
	orb	$0x60, gdt + ABSENT_DATA + 5
	andb	$0x9f, gdt + ABSENT_DATA + 5	/* DPL 0 */
	BAD_TASK 80, ABSENT_DATA
	movw	$KERNEL_DATA, bad_tss + 80
	.irp	offset, 72, 84, 88, 92		/* ES, DS, FS, GS */
	.irp	selector, BEYOND, MAIN_TSS, ABSENT_DATA, KERNEL_DATA + 3
	BAD_TASK \offset, \selector
	.endr
	movw	$0, bad_tss + \offset
	.endr
	.irp	vector, 10, 11, 12, 13
	GATE_AT	\vector, stubs + \vector * 16
	.endr

	/* Virtual-8086 mode. */
	TRY_V86
	movw	$0x77, %bx
	int	$0x40				/* IOPL 3: through the gate, and back */
	int	$0x41
	ud2
	DONE_V86
	TRY_V86 flags=0x20202
	int	$0x40				/* IOPL 0 */
	DONE_V86
	TRY_V86 flags=0x20202
	int3					/* which does not look at IOPL */
	DONE_V86
	TRY_V86
	int	$0x30				/* DPL 0 */
	DONE_V86
	TRY_V86
	hlt
	DONE_V86
	TRY_V86
	xorw	%dx, %dx
	divw	%dx
	DONE_V86
	GATE_AT	0x70, stubs, selector=CONFORMING, access=0xee
	TRY_V86
	int	$0x70				/* it must be CPL 0 */
	DONE_V86
	GATE_AT	0x70, stubs + 0x70 * 16 - _start, selector=BASED_CODE, access=0xe6
	TRY_V86
	int	$0x70				/* a 16-bit frame */
	DONE_V86
	TO_TASK	0x70, TASK_TSS, access=0xe5
	TRY_V86
	int	$0x70				/* there and back */
	int	$0x40
	ud2
	DONE_V86

	/* Another TSS for the stacks: one too short for SS1, and a 16-bit one. */
	movl	$SHORT_TSS, %eax
	ltr	%ax
	GATE_AT	0x70, middle_handler, selector=MIDDLE_CODE, access=0xee
	TRY_USER
	int	$0x70
	DONE
	movl	$TASK_16, %eax
	ltr	%ax
	movw	$KERNEL_DATA, task_16 + 4	/* SS0 */
	TRY_USER
	int	$0x70
	ud2
	DONE

	movl	$1, %eax
	movw	$0x505, %dx
	outb	%al, %dx
	cli
	hlt

user_handler:					/* in the conforming segment */
	movl	%cs, %eax
	movl	%esp, %ebx
	int	$0x40
	iretl
middle_handler:
	movl	%cs, %eax
	movl	%esp, %ebx
	int	$0x40
	iretl
through_gate:					/* of the call gate */
	movl	%esp, %eax
	int	$0x40
	lretl	$8

	.macro	LOG_TASK number base=0
	pushl	$(1f - \base)
	pushl	$(MARK + \number)
	jmp	handler
1:
	.endm
	.macro	RESUME_MAIN			/* at recover, with a fresh stack */
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ds
	movl	recover, %eax
	movl	%eax, main_tss + 32
	movl	$2, main_tss + 36
	movl	$STACK, main_tss + 56
	movl	$KERNEL_CODE, main_tss + 76
	.irp	at, 72, 80, 84
	movl	$KERNEL_DATA, main_tss + \at
	.endr
	movl	$0, main_tss + 88
	movl	$0, main_tss + 92
	andb	$~2, gdt + BAD_TSS + 5
	.endm
task:	LOG_TASK 1
	movl	$0x5a5a5a5a, %ecx
	SWITCH	iretl
	jmp	task
jump_task:
	LOG_TASK 2
	SWITCH	ljmp $MAIN_TSS, $0
	jmp	jump_task
fault_task:
	popl	%edx				/* the error code */
	LOG_TASK 3
	RESUME_MAIN
	movw	$MAIN_TSS, fault_tss
	SWITCH	iretl
	jmp	fault_task
plain_task:
	LOG_TASK 4
	RESUME_MAIN
	SWITCH	iretl
	jmp	plain_task
narrow_task:					/* in BASED_CODE, on STACK_16 */
	.irp	register, ax, bx, cx, dx, si, di, bp, sp
	movzwl	%\register, %e\register	/* upper halves are not defined */
	.endr
	LOG_TASK 5, _start
	stc
	int	$0x71
leave_task:					/* not by IRETL: back to MAIN_TSS as it is */
	LOG_TASK 6
	.irp	one, MAIN_TSS, TASK_16, LEAVE_TSS
	andb	$~2, gdt + \one + 5
	.endr
	movl	$MAIN_TSS, %eax
	ltr	%ax
	movl	$STACK, %esp
	pushl	$2
	popfl
	jmp	*recover
	.code16
v86_task:
	movw	%cs, %ax
	int	$0x40
	ud2
	.code32

	/* Each pushes its vector: what lies above it is the frame, with an error code or without. */
	.balign	16
stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	pushl	$vector
	jmp	handler
	.set	vector, vector + 1
	.endr

handler:
	pushl	%eax
	pushl	%ebx
	pushl	%esi
	pushl	%edi
	pushl	%ds
	pushl	%es
	movl	$USER_DATA, %eax		/* which any CPL may load */
	movl	%eax, %ds
	leal	24(%esp), %esi			/* the vector */
	movl	log_end, %edi
	movl	attempt, %eax
	movl	%eax, (%edi)
	leal	4(%esi), %eax
	movl	%eax, 4(%edi)			/* ESP as the handler found it */
	.set	at, 0
	.rept	12				/* the vector, and eleven doublewords above */
	movl	%ss:at(%esi), %eax
	movl	%eax, 8 + at(%edi)
	.set	at, at + 4
	.endr
	movw	%cs, 56(%edi)
	movw	%ss, 58(%edi)
	pushfl
	popl	60(%edi)
	movw	%ss:(%esp), %ax
	movw	%ax, 64(%edi)			/* ES, DS, FS, GS of what was interrupted, if the CPU left them */
	movw	%ss:4(%esp), %ax
	movw	%ax, 66(%edi)
	movw	%fs, 68(%edi)
	movw	%gs, 70(%edi)
	movl	%ss:20(%esp), %eax
	movl	%eax, 72(%edi)
	movl	%ss:16(%esp), %eax
	movl	%eax, 76(%edi)
	movl	%ecx, 80(%edi)
	movl	%edx, 84(%edi)
	movl	%ebp, 88(%edi)
	str	92(%edi)
	sldt	94(%edi)
	movw	main_tss, %ax			/* links: to the task that was left */
	movw	%ax, 96(%edi)
	movw	task_tss, %ax
	movw	%ax, 98(%edi)
	movw	fault_tss, %ax
	movw	%ax, 100(%edi)
	movw	plain_tss, %ax
	movw	%ax, 102(%edi)
	movl	%cs, %eax
	testb	$3, %al
	jnz	1f				/* not for CPL 1 and 3 */
	movl	%cr2, %eax
	movl	%eax, 104(%edi)
	movl	%cr3, %eax
	movl	%eax, 108(%edi)
	movl	%cr0, %eax
	movl	%eax, 112(%edi)
	clts
	xorl	%eax, %eax
	movl	%eax, %cr2
1:	subl	$-128, log_end
	movl	%ss:(%esi), %eax
	cmpl	$FIRST_BACK, %eax
	jb	1f
	cmpl	$MARK, %eax
	ja	2f
	cmpl	$FIRST_DEAD, %eax
	jae	1f
	cmpl	$FIRST_NARROW, %eax
2:	popl	%es
	popl	%ds
	popl	%edi
	popl	%esi
	popl	%ebx
	popl	%eax
	leal	4(%esp), %esp			/* leaves the flags */
	ja	3f
	je	4f
	iretl
3:	testl	$MARK, %ss:-4(%esp)
	jz	4f
	ret
4:	iretw
1:	cld
	movl	$KERNEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	$STACK, %esp
	pushl	$2
	popfl
	pushl	$KERNEL_CODE
	pushl	recover
	lretl

	.balign	16
recover:	.long 0
attempt:	.long 0
log_end:	.long LOG
paging:		.long 0
bounds:		.long 1, 5

	.macro	TSS_AT where, limit=0x67, type=0x89
	.word	\limit, \where - _start, \type << 8 | 1, 0
	.endm
	.balign	16
gdt:	.quad	0
	.quad	0x00cf9b000000ffff		/* KERNEL_CODE */
	.quad	0x00cf93000000ffff		/* KERNEL_DATA */
	.quad	0x00cffb000000ffff		/* USER_CODE */
	.quad	0x00cff3000000ffff		/* USER_DATA */
	TSS_AT	main_tss
	.quad	0x00409b010000ffff		/* BASED_CODE */
	.quad	0x00cfbb000000ffff		/* MIDDLE_CODE */
	.quad	0x00cfb3000000ffff		/* MIDDLE_DATA */
	.quad	0x00cf9f000000ffff		/* CONFORMING */
	.quad	0x00cf1b000000ffff		/* ABSENT_CODE */
	.quad	0x00cf13000000ffff		/* ABSENT_DATA */
	.quad	0x000093058000ffff		/* STACK_16 */
	.word	through_gate - _start, KERNEL_CODE, 0xec02, 1
	TSS_AT	task_tss
	.word	0, TASK_TSS, 0xe500, 0		/* TASK_GATE */
	TSS_AT	jump_tss
	.quad	0
	TSS_AT	plain_tss
	TSS_AT	task_16, 0x2b, 0x81
	TSS_AT	v86_tss
	TSS_AT	bad_tss
	TSS_AT	main_tss, 0x10			/* SHORT_TSS */
	TSS_AT	main_tss, type=0x09		/* ABSENT_TSS */
	.word	0x17, ldt - _start, 0x8201, 0
	.quad	0x00cf91000000ffff		/* READ_ONLY_DATA */
	TSS_AT	leave_tss
	.rept	7
	TSS_AT	fault_tss
	.endr
gdt_end:
ldt:	.quad	0
	.quad	0x00cf9b000000ffff		/* LOCAL_CODE */
	.quad	0x00cf93000000ffff		/* LOCAL_DATA */
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
idt_pointer:
	.word	0x7ff
	.long	idt
short_idt_pointer:
	.word	0x47f
	.long	idt

	/* ESP0, SS0, ESP1, SS1; EIP, EFLAGS, EAX ... EDI; ES, CS, SS, DS, FS, GS; LDT. */
	.macro	TASK_STATE eip, flags, esp, ldt=0, cs=KERNEL_CODE, ss=KERNEL_DATA, ds=KERNEL_DATA, es=KERNEL_DATA
	.long	0, INNER_STACK, KERNEL_DATA, MIDDLE_STACK, MIDDLE_DATA, 0, 0, 0, \eip, \flags
	.long	0xe0000000, 0xe1111111, 0xe2222222, 0xe3333333, \esp, 0xe5555555, 0xe6666666, 0xe7777777
	.long	\es, \cs, \ss, \ds, 0, 0, \ldt, 0x680000
	.endm
	.balign	16
main_tss:
	TASK_STATE 0, 0, 0, LDT
task_tss:
	TASK_STATE task, 0x202, TASK_STACK, LDT, cs=LOCAL_CODE, es=LOCAL_DATA
jump_tss:
	TASK_STATE jump_task, 0x403, JUMP_STACK, es=USER_DATA
fault_tss:
	TASK_STATE fault_task, 2, FAULT_STACK
plain_tss:
	TASK_STATE plain_task, 2, PLAIN_STACK
v86_tss:
	TASK_STATE (v86_task - _start), 0x23202, 0xff0, cs=0x1000, ss=0x6200, ds=0x1000, es=0x4321
leave_tss:
	TASK_STATE leave_task, 2, TASK_STACK - 0x100
bad_tss:
	TASK_STATE plain_task, 2, TASK_STACK
task_16:
	.word	0, 0x4000, STACK_16, 0x6000, MIDDLE_DATA, 0, 0, narrow_task - _start, 0x202
	.word	0xa000, 0xa111, 0xa222, 0xa333, NARROW_STACK, 0xa555, 0xa666, 0xa777
	.word	KERNEL_DATA, BASED_CODE, STACK_16, KERNEL_DATA, 0
	.balign	16
idt:	.fill	2048, 1, 0

	.macro	TABLE bytes entries
	.set	page, 0
	.rept	\entries
	.if	page == ABSENT
	.\bytes	page + 6
	.elseif	page == READ_ONLY
	.\bytes	page + 5
	.elseif	page == SUPERVISOR
	.\bytes	page + 3
	.else
	.\bytes	page + 7
	.endif
	.set	page, page + 4096
	.endr
	.endm
	.balign	4096
directory:
	.long	table + 7
	.fill	1023, 4, 0
second_directory:
	.long	table + 7
	.fill	1023, 4, 0
table:	TABLE	long, 512
	.fill	512, 4, 0
pae_directory:
	.quad	pae_table + 7
	.fill	511, 8, 0
pae_table:
	TABLE	quad, 512
pdpt:	.quad	pae_directory + 1, 0, 0, 0
second_pdpt:
	.quad	pae_directory + 1, 0, 0, 0
