/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The minikernel's ways in: its first CPU, further CPUs, interrupts and exceptions.
 *
 * Contract of startup_64 and secondary_startup_64: Linux's "64-bit Boot Protocol": 64-bit mode, the kernel mapped to
 * itself, interrupts off, RSI = boot_params (which is the host's own for a spawned kernel,
 * RFC v1's defect 13). The image runs wherever it was loaded.
 */

#define APIC_ID		0xfee00020
#define MSR_APIC_BASE	0x1b
#define MSR_X2APIC_ID	0x802
#define MSR_EFER	0xc0000080
#define STACK_SHIFT	11			/* 2 KiB for each CPU */

/* RSP = the stack of this CPU, chosen by its physical id. Uses RAX, RCX, RDX. */
	.macro	LOAD_STACK
	movl	$MSR_APIC_BASE, %ecx
	rdmsr
	btl	$10, %eax			/* x2APIC mode: there is no page to read */
	jc	1f
	movl	$APIC_ID, %eax
	movl	(%rax), %ecx
	shrl	$24, %ecx
	jmp	2f
1:	movl	$MSR_X2APIC_ID, %ecx
	rdmsr
	movzbl	%al, %ecx
2:	incl	%ecx
	shll	$STACK_SHIFT, %ecx
	leaq	stacks(%rip), %rsp
	addq	%rcx, %rsp
	.endm

	.section .head.text, "ax"
	.code64
	.globl startup_64
startup_64:
	cli
	movq	%rsi, boot_params(%rip)
	leaq	boot_stack_end(%rip), %rsp
	/* Page tables of our own: the trampoline's are wiped when it starts the next CPU (defect 6). */
	call	init_mem_mapping
	xorl	%ebp, %ebp			/* the first CPU */
	jmp	1f

	.globl secondary_startup_64
secondary_startup_64:
	cli
	movl	$1, %ebp
1:	movl	$MSR_EFER, %ecx
	rdmsr
	btsl	$11, %eax			/* NXE: data is not code */
	wrmsr
	movq	%cr0, %rax
	btsl	$16, %eax			/* WP: text is not data, for the kernel too */
	movq	%rax, %cr0
	leaq	page_tables(%rip), %rax
	movq	%rax, %cr3
	LOAD_STACK

	leaq	gdt(%rip), %rax
	movq	%rax, gdt_pointer + 2(%rip)
	lgdt	gdt_pointer(%rip)
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	leaq	1f(%rip), %rax
	pushq	$0x10
	pushq	%rax
	lretq
1:	movl	%ebp, %edi
	xorl	%ebp, %ebp
	call	start_cpu			/* does not return */
	hlt

	.text
/* The compiler asks for these by name. */
	.globl	memset
memset:
	movq	%rdi, %r8
	movzbl	%sil, %esi
	movabsq	$0x0101010101010101, %rax
	imulq	%rsi, %rax
	movq	%rdx, %rcx
	shrq	$3, %rcx
	rep stosq
	movl	%edx, %ecx
	andl	$7, %ecx
	rep stosb
	movq	%r8, %rax
	ret

	.globl	memcpy
memcpy:
	movq	%rdi, %rax
	movq	%rdx, %rcx
	shrq	$3, %rcx
	rep movsq
	movl	%edx, %ecx
	andl	$7, %ecx
	rep movsb
	ret

	.macro	PUSH_REGISTERS
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	cld
	.endm

	.macro	POP_REGISTERS
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	.endm

/* Interrupts with a handler: the frame is 40 bytes and nine registers 72, so the stack is aligned for the call. */
	.macro	INTERRUPT name handler
	.globl	\name
\name:
	PUSH_REGISTERS
	call	\handler
	POP_REGISTERS
	iretq
	.endm

	INTERRUPT asm_sysvec_multikernel sysvec_multikernel
	INTERRUPT asm_sysvec_reschedule_ipi sysvec_reschedule_ipi
	INTERRUPT asm_sysvec_irq_work sysvec_irq_work

/* All other vectors: a stub of 16 bytes for each pushes its number over an error code. */
	.balign	16
	.globl	entry_stubs
entry_stubs:
	vector = 0
	.rept	256
	.balign	16
	.if	(vector != 8) && (vector < 10 || vector > 14) && (vector != 17)
	pushq	$0
	.endif
	pushq	$vector
	jmp	1f
	vector = vector + 1
	.endr
1:	PUSH_REGISTERS				/* 56 and 72 bytes: aligned */
	movq	72(%rsp), %rdi			/* vector */
	movq	80(%rsp), %rsi			/* error code */
	movq	88(%rsp), %rdx			/* RIP */
	call	other_interrupt
	POP_REGISTERS
	addq	$16, %rsp
	iretq

	.section .data, "aw"
	.balign	8
gdt:
	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff		/* 0x10 code, 64-bit */
	.quad	0x00cf93000000ffff		/* 0x18 data */
gdt_pointer:
	.word	4 * 8 - 1
	.quad	0

	.bss
	.balign	4096
	.skip	4096
boot_stack_end:
	.globl stacks
stacks:
	.skip	256 << STACK_SHIFT
