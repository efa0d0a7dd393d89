/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A ROM that takes the place of a PC's firmware: the BSP does what RFC v1's host does to start a CPU, and nothing else
 * touches memory.
 *
 * Contract
 *   Placed    at 0xffff0000, 64 KiB: the BSP comes out of reset at 0xfffffff0, in real mode.
 *   In        the trampoline and the payload lie in RAM; mailbox: where the payload is, and boot_params.
 *   Out       both written into the trampoline, CPU 1 started; when record_done is set, a 1 is written to port 0x505
 *             (QEMU's pvpanic device; nothing on the model), and the BSP halts.
 */

#define APIC_SVR	0xfee000f0
#define APIC_ICR	0xfee00300
#define APIC_ICR2	0xfee00310

	.section .rom, "ax"
	.code32
start_32:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss

	movl	mailbox, %eax
	movl	%eax, kernel_phys_addr
	movl	mailbox + 4, %eax
	movl	%eax, kernel_phys_addr + 4
	movl	mailbox + 8, %eax
	movl	%eax, boot_params_phys_addr
	movl	mailbox + 12, %eax
	movl	%eax, boot_params_phys_addr + 4

	orl	$0x100, APIC_SVR
	movl	$commands, %esi
next_command:
	movl	$0x01000000, APIC_ICR2		/* to APIC id 1 */
	movl	(%esi), %eax
	movl	%eax, APIC_ICR
1:	pause
	testl	$(1 << 12), APIC_ICR		/* delivery status: pending */
	jnz	1b
	rdtsc					/* 20,000 ticks: the order of what Linux waits, 10 us */
	leal	20000(%eax), %ecx
1:	pause
	rdtsc
	subl	%ecx, %eax
	js	1b
	addl	$4, %esi
	cmpl	$gdt, %esi			/* behind the last command */
	jb	next_command

1:	pause
	cmpl	$1, record_done
	jne	1b
	movw	$0x505, %dx
	movb	$1, %al
	outb	%al, %dx
1:	cli
	hlt
	jmp	1b

commands:					/* INIT asserted, de-asserted, and two SIPIs */
	.long	0xc500, 0x8500, 0x600 + trampoline_page, 0x600 + trampoline_page
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff		/* 0x08 code, 32-bit */
	.quad	0x00cf93000000ffff		/* 0x10 data */
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.section .rom.reset, "ax"
	.code16
	/* CS begins at 0xffff0000: a label's offset in the ROM is what real mode needs. */
start_16:
	cli
	lgdtl	%cs:gdt_pointer - 0xffff0000
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$0x08, $start_32
	.org 0x20
	jmp	start_16			/* the reset vector, 0xfffffff0 */
	.org 0x30
