/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The multikernel trampoline of RFC v1, rebuilt from its behaviour: it takes a CPU from SIPI to the entry of another
 * kernel in 64-bit mode.
 *
 * Contract
 *   Placed    at a page below 1 MiB, nine pages long; the SIPI vector is that page's number.
 *   In        CS:IP = page << 8 : 0, real mode; boot_params_phys_addr and kernel_phys_addr filled in by the host.
 *   Out       jump to kernel_phys_addr in 64-bit mode: CS = 0x10, DS = ES = SS = 0x18, RSI = R15 = boot_params,
 *             R14 = entry, CR3 = the tables below: 0 to 4 GiB mapped to itself, and the GiB around an entry above.
 *   Marker    trampoline_status_bsp = 0xA5A5A5A5, as soon as code runs here. Nobody reads it (defect 4).
 *
 * Defects of v1 that are kept (docs/fidelity.md has the list):
 *    3  the stack pointer stays an offset after SS becomes flat: two pushes hit physical 0x1200 and 0x11fc
 *    7  entry >> 30 is not masked: an entry from 512 GiB on overwrites what follows the PDPT
 *    8  of memory above 4 GiB only the GiB around the entry is mapped
 *    9  the IDT is empty: any exception or NMI shuts the CPU down
 *   10  whether the CPU has long mode is not checked
 */

#define LOW(label) ((label) - x86_trampoline_bsp_start)

	.section .x86_trampoline_bsp, "awx"
	.balign 4096
	.globl x86_trampoline_bsp_start
x86_trampoline_bsp_start:

	/* 16-bit code: real mode, the segments set to this page */
	.code16
	cli
	wbinvd
	movw	%cs, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$0xA5A5A5A5, LOW(trampoline_status_bsp)
	movw	$LOW(trampoline_stack_end), %sp
	movzwl	%ax, %esi
	shll	$4, %esi			/* ESI = where this page is */

	/* Three addresses are known only now. */
	leal	LOW(startup_32)(%esi), %eax
	movl	%eax, LOW(startup_32_vector)
	leal	LOW(startup_64)(%esi), %eax
	movl	%eax, LOW(startup_64_vector)
	leal	LOW(tgdt)(%esi), %eax
	movl	%eax, LOW(tgdt) + 2

	lidtl	LOW(tidt)
	lgdtl	LOW(tgdt)
	movw	$1, %ax
	lmsw	%ax				/* CR0.PE: protected mode */
	ljmpl	*LOW(startup_32_vector)

	/* 32-bit code: flat segments, page tables, long mode */
	.org 0x05c
	.code32
startup_32:
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss			/* flat now; ESP is still 0x1204 (defect 3) */
	leal	LOW(gdt64)(%esi), %eax
	movl	%eax, 2(%eax)
	lgdt	(%eax)

	movl	%cr4, %eax
	orl	$(1 << 5), %eax			/* PAE */
	movl	%eax, %cr4

	leal	LOW(pgtable)(%esi), %edi	/* six pages of zeros */
	xorl	%eax, %eax
	movl	$(6 * 4096 / 4), %ecx
	rep stosl

	leal	LOW(pgtable)(%esi), %edi	/* PML4[0] -> PDPT */
	leal	0x1007(%edi), %eax
	movl	%eax, (%edi)

	leal	LOW(pgtable) + 0x1000(%esi), %edi /* PDPT[0..3] -> directories */
	leal	0x1007(%edi), %eax
	movl	$4, %ecx
1:	movl	%eax, (%edi)
	addl	$0x1000, %eax
	addl	$8, %edi
	decl	%ecx
	jnz	1b

	leal	LOW(pgtable) + 0x2000(%esi), %edi /* 2048 pages of 2 MiB: P, RW, PS, G */
	movl	$0x183, %eax
	movl	$2048, %ecx
1:	movl	%eax, (%edi)
	addl	$0x200000, %eax
	addl	$8, %edi
	decl	%ecx
	jnz	1b

	leal	LOW(pgtable)(%esi), %eax
	movl	%eax, %cr3
	movl	$0xC0000080, %ecx		/* EFER.LME */
	rdmsr
	btsl	$8, %eax
	wrmsr

	leal	LOW(startup_64)(%esi), %eax
	pushl	$0x10				/* to physical 0x1200 (defect 3) ... */
	pushl	%eax				/* ... and 0x11fc */
	movl	$0x80000001, %eax		/* CR0.PG and PE: long mode, compatibility sub-mode */
	movl	%eax, %cr0
	lret					/* CS = 0x10: 64-bit code */

	/* 64-bit code: the last mapping, and the jump */
	.org 0x104
	.code64
startup_64:
	movq	LOW(boot_params_phys_addr)(%rsi), %r15
	movq	LOW(kernel_phys_addr)(%rsi), %r14
	movabsq	$0xffffffff00000000, %r8
	testq	%r14, %r8
	jz	2f

	movq	%r14, %rax			/* PDPT[entry >> 30] -> the extra directory (defect 7) */
	shrq	$30, %rax
	leaq	LOW(extra_directory) + 7(%rsi), %rdx
	movq	%rdx, LOW(pgtable) + 0x1000(%rsi, %rax, 8)
	shlq	$30, %rax			/* the GiB that holds the entry */
	orq	$0x183, %rax
	leaq	LOW(extra_directory)(%rsi), %rdi
	movl	$512, %ecx
1:	movq	%rax, (%rdi)
	addq	$0x200000, %rax
	addq	$8, %rdi
	decl	%ecx
	jnz	1b

2:	movq	%r15, %rsi
	jmp	*%r14

	/* Data: at these offsets since v1's host writes there. */
	.org 0x180
	.globl boot_params_phys_addr, kernel_phys_addr, trampoline_status_bsp
boot_params_phys_addr:
	.quad	0
kernel_phys_addr:
	.quad	0
tidt:
	.word	0				/* limit 0: no vector is inside (defect 9) */
	.long	0
	.org 0x198
tgdt:						/* slot 0 is its own pseudo-descriptor */
	.word	tgdt_end - tgdt
	.long	0
	.word	0
	.quad	0x00cf9b000000ffff		/* 0x08 code, 32-bit */
	.quad	0x00af9b000000ffff		/* 0x10 code, 64-bit */
	.quad	0x00cf93000000ffff		/* 0x18 data */
tgdt_end:
gdt64:
	.word	gdt64_end - gdt64
	.long	0
	.word	0
	.quad	0				/* 0x08 */
	.quad	0x00af9a000000ffff		/* 0x10 code, 64-bit */
	.quad	0x00cf92000000ffff		/* 0x18 data */
	.quad	0x0080890000000000		/* 0x20 task state */
	.quad	0
gdt64_end:
startup_32_vector:
	.long	0
	.word	0x08, 0
startup_64_vector:				/* never used: lret goes there */
	.long	0
	.word	0x10, 0
trampoline_status_bsp:
	.long	0
trampoline_location:				/* never used */
	.long	0, 0
	.org 0x204
	.skip	4096
trampoline_stack_end:

	.org 0x2000
	.globl pgtable, extra_directory
pgtable:					/* PML4, PDPT, four directories */
	.skip	6 * 4096
extra_directory:
	.skip	4096
	.globl x86_trampoline_bsp_end
x86_trampoline_bsp_end:
