/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Purgatory: what runs between the old kernel and the new one. It verifies what was loaded, and then makes the CPU what
 * the new kernel expects: in 64-bit mode, or in 32-bit protected mode for a multiboot image.
 *
 * Contract
 *   Placed    anywhere that the tables in use map to itself; below 4 GiB if it is to go on in 32-bit mode.
 *   In        purgatory_start in 64-bit mode with CS = 0x10, interrupts off; purgatory_sha_regions,
 *             purgatory_sha256_digest, entry64_regs and entry32_regs filled in by the loader.
 *   Out       jump to entry64_regs.rip with these registers, CS = 0x10, DS = ES = SS = FS = GS = 0x18, the tables as
 *             they were. If that is entry32 here: jump to entry32_regs.eip with those registers, CS = 0x20, the others
 *             0x18, all flat and 4 GiB long; CR0 = PE and ET, CR3 = CR4 = EFER = 0: no paging.
 *   Never     out, if the digest is not that of the segments: it loops.
 */

	.section .head.text, "ax"
	.code64
	.globl purgatory_start
purgatory_start:
	leaq	gdt(%rip), %rax
	movq	%rax, gdt + 2(%rip)
	lgdt	gdt(%rip)
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs
	leaq	stack_end(%rip), %rsp
	leaq	purgatory_sha_regions(%rip), %rdi
	leaq	purgatory_sha256_digest(%rip), %rsi
	call	purgatory			/* returns if all is well */

	.globl entry64
entry64:
	movq	rax(%rip), %rax
	movq	rcx(%rip), %rcx
	movq	rdx(%rip), %rdx
	movq	rbx(%rip), %rbx
	movq	rsp(%rip), %rsp
	movq	rbp(%rip), %rbp
	movq	rsi(%rip), %rsi
	movq	rdi(%rip), %rdi
	movq	r8(%rip), %r8
	movq	r9(%rip), %r9
	movq	r10(%rip), %r10
	movq	r11(%rip), %r11
	movq	r12(%rip), %r12
	movq	r13(%rip), %r13
	movq	r14(%rip), %r14
	movq	r15(%rip), %r15
	jmpq	*rip(%rip)

	/* From 64-bit mode to 32-bit protected mode (SDM "Switching Out of IA-32e Mode Operation") */
	.globl entry32
entry32:
	leaq	stack_end(%rip), %rsp
	leaq	entry32_regs(%rip), %rsi
	leaq	compatibility_mode(%rip), %rax
	pushq	$0x20
	pushq	%rax
	lretq
	.code32
compatibility_mode:				/* 32-bit code, still paged */
	movl	$0x11, %eax			/* PE and ET: paging ends, and with it long mode */
	movl	%eax, %cr0
	movl	$0xc0000080, %ecx		/* EFER */
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	movl	%eax, %cr4
	movl	%eax, %cr3
	movl	0x10(%esi), %esp
	pushl	0x20(%esi)			/* eip, for the return below */
	movl	0x00(%esi), %eax
	movl	0x04(%esi), %ecx
	movl	0x08(%esi), %edx
	movl	0x0c(%esi), %ebx
	movl	0x14(%esi), %ebp
	movl	0x1c(%esi), %edi
	movl	0x18(%esi), %esi
	ret

	.section .data, "aw"
	.balign	16
gdt:						/* the first two slots are its own pseudo-descriptor */
	.word	gdt_end - gdt - 1
	.quad	0
	.word	0, 0, 0
	.quad	0x00af9b000000ffff		/* 0x10 code, 64-bit */
	.quad	0x00cf93000000ffff		/* 0x18 data */
	.quad	0x00cf9b000000ffff		/* 0x20 code, 32-bit */
gdt_end:

	.balign	8
	.globl	entry64_regs, entry32_regs
entry64_regs:
rax:	.quad	0
rcx:	.quad	0
rdx:	.quad	0
rbx:	.quad	0
rsp:	.quad	0
rbp:	.quad	0
rsi:	.quad	0
rdi:	.quad	0
r8:	.quad	0
r9:	.quad	0
r10:	.quad	0
r11:	.quad	0
r12:	.quad	0
r13:	.quad	0
r14:	.quad	0
r15:	.quad	0
rip:	.quad	0
entry32_regs:					/* eax, ecx, edx, ebx, esp, ebp, esi, edi, eip */
	.fill	9, 4, 0
	.balign	8
	.globl	purgatory_sha_regions, purgatory_sha256_digest
purgatory_sha_regions:				/* KEXEC_SEGMENT_MAX times start and len */
	.fill	2 * 16, 8, 0
purgatory_sha256_digest:
	.skip	32

	.bss
	.balign	16
	.skip	4096
	.globl	stack_end
stack_end:
	.skip	16				/* a symbol behind the segment would be no symbol of it */
