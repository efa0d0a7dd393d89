/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Paging with PAE, user mode, a call gate, and a task gate: prints a word for each, and leaves with 3.
 *
 * The page fault at the end comes through the task gate: the other task finds the error code on its own stack, and the
 * first task's state in its task state segment.
 */
	KERNEL_CS = 0x08
	KERNEL_DS = 0x10
	USER_CS = 0x1b
	USER_DS = 0x23
	TASK = 0x28
	FAULT_TASK = 0x30
	CALL_GATE = 0x3b
	ALIAS = 0xc0000000			/* where the first 2 MiB of memory are mapped a second time */
	UNMAPPED = 0xd0000040

	.macro	SAY text
	mov	$text_\@, %esi
	call	puts
	.section .data, "aw"
text_\@:
	.asciz	"\text\n"
	.section .text, "ax"
	.endm

	.macro	GATE vector handler selector type
	mov	$\handler, %eax
	movw	%ax, idt + 8 * \vector
	movw	$\selector, idt + 8 * \vector + 2
	movw	$\type, idt + 8 * \vector + 4
	shr	$16, %eax
	movw	%ax, idt + 8 * \vector + 6
	.endm

	.macro	BASE selector address		/* fill in the base of a descriptor of the GDT */
	mov	$\address, %eax
	movw	%ax, gdt + \selector + 2
	shr	$16, %eax
	movb	%al, gdt + \selector + 4
	movb	%ah, gdt + \selector + 7
	.endm

start:
	movl	$directory_0 + 1, pointers	/* P */
	movl	$directory_3 + 1, pointers + 24
	movl	$0x87, directory_0		/* P, RW, US, PS */
	movl	$0x200087, directory_0 + 8
	movl	$0x83, directory_3
	mov	%cr4, %eax
	or	$0x20, %eax			/* PAE */
	mov	%eax, %cr4
	mov	$pointers, %eax
	mov	%eax, %cr3
	mov	%cr0, %eax
	or	$0x80010000, %eax		/* PG, WP */
	mov	%eax, %cr0
	movl	$0x600d, word
	mov	word + ALIAS, %ebx
	call	put_hex
	SAY	" paging"

	BASE	TASK, task
	BASE	FAULT_TASK, fault_task
	mov	$gate, %eax
	movw	%ax, gdt + 0x38
	shr	$16, %eax
	movw	%ax, gdt + 0x3e
	lgdt	gdt_register
	ljmp	$KERNEL_CS, $1f
1:	mov	$KERNEL_DS, %eax
	mov	%eax, %ss
	mov	$USER_DS, %eax			/* user code may read and write with them */
	mov	%eax, %ds
	mov	%eax, %es
	movl	$kernel_stack, task + 4
	movl	$KERNEL_DS, task + 8
	movw	$104, task + 102		/* no I/O permission map */
	mov	$TASK, %eax
	ltr	%ax
	mov	$pointers, %eax
	mov	%eax, fault_task + 28
	movl	$faulted, fault_task + 32
	movl	$2, fault_task + 36
	movl	$fault_stack, fault_task + 56
	movl	$KERNEL_DS, fault_task + 72
	movl	$KERNEL_CS, fault_task + 76
	movl	$KERNEL_DS, fault_task + 80
	movl	$KERNEL_DS, fault_task + 84
	GATE	13, protection, KERNEL_CS, 0x8f00
	GATE	14, 0, FAULT_TASK, 0x8500
	GATE	0x80, system_call, KERNEL_CS, 0xef00
	lidt	idt_register
	mov	$kernel_stack, %esp
	pushl	$USER_DS
	pushl	$user_stack
	pushl	$2
	pushl	$USER_CS
	pushl	$user
	iret

user:
	mov	$0x5a, %ebx
	int	$0x80
	lcall	$CALL_GATE, $0
	LEAVE	0				/* #GP: IOPL is 0 */
	mov	UNMAPPED, %eax

system_call:
	movzwl	4(%esp), %eax			/* CS of the caller */
	shl	$16, %eax
	or	%eax, %ebx
	call	put_hex
	SAY	" system call"
	iret

gate:
	mov	%cs, %ebx
	shl	$16, %ebx
	mov	4(%esp), %bx
	call	put_hex
	SAY	" call gate"
	lret

protection:
	mov	(%esp), %ebx
	call	put_hex
	SAY	" protection"
	addl	$4, %esp
	addl	$2, (%esp)			/* behind OUT */
	iret

faulted:
	mov	(%esp), %ebx
	call	put_hex
	SAY	" page fault"
	mov	%cr2, %ebx
	call	put_hex
	SAY	" its address"
	movw	fault_task, %bx
	shl	$16, %ebx
	movw	task + 76, %bx			/* link; CS of the interrupted task */
	call	put_hex
	SAY	" tasks"
	str	%ebx
	call	put_hex
	SAY	" this task"
	LEAVE	3

	.section .data, "aw"
	.balign	8
gdt:
	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00cffa000000ffff, 0x00cff2000000ffff
	.quad	0x0000890000000067, 0x0000890000000067, 0x0000ec0000080000
gdt_register:
	.word	. - gdt - 1
	.long	gdt
idt_register:
	.word	8 * 256 - 1
	.long	idt
	.section .bss, "aw", @nobits
	.balign	4096
directory_0:
	.skip	4096
directory_3:
	.skip	4096
pointers:
	.skip	32
idt:	.skip	8 * 256
task:	.skip	104
fault_task:
	.skip	104
word:	.skip	8
	.skip	512
kernel_stack:
	.skip	512
fault_stack:
	.skip	512
user_stack:
