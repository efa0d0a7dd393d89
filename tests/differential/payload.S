/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the trampoline jumps to: it stores all it can see of the CPU, and halts.
 *
 * Contract
 *   In        64-bit mode, anywhere; the record, below 2 GiB, is mapped to itself.
 *   Out       every field of the record; record_done = 1 last.
 *   Memory    besides the record only its own stack, since at the stack pointer it is handed lie the bytes under test.
 */

	.macro	SAVE name source
	mov	\source, %rax
	movq	%rax, record_\name
	.endm

	.section .payload, "ax"
	.code64
	movq	%rax, record_rax
	.irp	name, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	movq	%\name, record_\name
	.endr
	movq	$record_stack_end, %rsp		/* MOV leaves the flags as they are */
	pushfq
	popq	record_rflags
	.irp	name, cr0, cr2, cr3, cr4, cr8, dr0, dr1, dr2, dr3, dr6, dr7
	SAVE	\name, %\name
	.endr
	.irp	name, cs, ds, es, ss, fs, gs
	movl	%\name, %eax			/* clears the upper half */
	movq	%rax, record_\name
	.endr
	str	%eax
	movq	%rax, record_tr
	sldt	%eax
	movq	%rax, record_ldtr
	sgdt	record_gdtr
	sidt	record_idtr
	movl	$0xc0000080, %ecx		/* EFER */
	rdmsr
	movl	%eax, record_efer
	movl	%edx, record_efer + 4
	movl	$1, record_done
1:	cli
	hlt
	jmp	1b
