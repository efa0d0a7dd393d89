/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IPIs, NMIs and the APIC timer on two CPUs; each handler logs what its local APIC shows.
 *
 * Contract
 *   In        real mode, at 0x1000:0; memory as it was loaded; timer: whether to try the timer, nmi: nested NMIs.
 *   Out       log: for each handler that was entered one entry of 32 doublewords, those of CPU 1 from log + 0x8000 on; then
 *             a 1 is written to port 0x505 (QEMU's pvpanic device; nothing on the model), and both CPUs halt.
 *   Order     CPU 0 waits after each IPI to CPU 1 until that has taken it, so that nothing depends on who is faster.
 */

#define CODE		0x08
#define DATA		0x10
#define STACK		0x60000
#define LOG		0x70000
#define LOG_SIZE	0x8000		/* of one CPU */
#define CPU_SIZE	0x1000		/* of one CPU's stack */

#define APIC		0xfee00000
#define ID		0x020
#define TPR		0x080
#define PPR		0x0a0
#define EOI		0x0b0
#define LDR		0x0d0
#define DFR		0x0e0
#define SVR		0x0f0
#define ISR		0x100
#define IRR		0x200
#define ESR		0x280
#define ICR		0x300
#define ICR2		0x310
#define TIMER		0x320
#define INITIAL		0x380
#define CURRENT		0x390
#define DIVIDE		0x3e0

#define SELF		0x44000
#define ALL		0x84000
#define OTHERS		0xc4000
#define FIXED		0x04000
#define LOWEST		0x04100
#define NMI		0x04400
#define LOGICAL		0x00800
#define PERIODIC	0x20000
#define MASKED		0x10000

	.macro	TRY
	incl	attempt
	.endm
	.macro	SEND what
	movl	$(\what), APIC + ICR
	.endm
	.macro	SEND_TO destination, what
	movl	$(\destination << 24), APIC + ICR2
	SEND	\what
	.endm
	/* Let pending interrupts in, on CPU 0. */
	.macro	OPEN
	sti
	nop
	nop
	cli
	.endm
	/* Until CPU 1 has entered so many handlers since the last time. */
	.macro	TAKEN count=1
	addl	$\count, expected
	call	wait_for_other
	.endm

	.section .text
	.globl	_start
	.code16
_start:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	gdt_pointer - _start
	movl	$0x11, %eax
	movl	%eax, %cr0
	ljmpl	$CODE, $start_32

	.code32
start_32:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$1, %ebx
	lock xaddl %ebx, started		/* 0: the BSP */
	movl	%ebx, %eax
	imull	$CPU_SIZE, %eax
	leal	STACK(%eax), %esp
	lidt	idt_pointer
	movl	$0x1ff, APIC + SVR
	testl	%ebx, %ebx
	jnz	other

	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	shll	$4, %eax
	addl	$stubs, %eax
	movw	%ax, idt(, %ecx, 8)
	movw	$CODE, idt + 2(, %ecx, 8)
	movw	$0x8e00, idt + 4(, %ecx, 8)
	shrl	$16, %eax
	movw	%ax, idt + 6(, %ecx, 8)
	incl	%ecx
	cmpl	$256, %ecx
	jb	1b

	/* IPIs to oneself: by priority, and equal ones merge. */
	TRY
	SEND	(SELF + 0x41)
	SEND	(SELF + 0x51)
	SEND	(SELF + 0x31)
	SEND	(SELF + 0x5f)
	SEND	(SELF + 0x41)
	OPEN
	TRY
	SEND_TO	0, (FIXED + 0xfe)
	SEND_TO	0, (FIXED + 0x10)
	SEND_TO	0, (FIXED + 0x80)
	SEND_TO	0, (FIXED + 0x7f)
	OPEN
	/* Nesting: the handler of 0x45 lets interrupts in, and sends a lower one, one of its class, and a higher one. */
	TRY
	SEND	(SELF + 0x45)
	OPEN
	/* TPR: its class and those below wait; so does what it is raised above. */
	TRY
	movl	$0x55, APIC + TPR
	SEND	(SELF + 0x45)
	SEND	(SELF + 0x5e)
	SEND	(SELF + 0x60)
	OPEN
	movl	$0x48, APIC + TPR
	OPEN
	movl	$0, APIC + TPR
	OPEN
	/* A handler that does not say EOI (0x6a) keeps its class out until somebody does. */
	TRY
	SEND	(SELF + 0x6a)
	OPEN
	SEND	(SELF + 0x61)
	SEND	(SELF + 0x6f)
	SEND	(SELF + 0x70)
	OPEN
	movl	$0, APIC + EOI
	OPEN

	/* The other CPU: INIT and SIPI, and then by each kind of destination. */
	TRY
	SEND_TO	1, 0xc500
	SEND_TO	1, 0x8500
	SEND_TO	1, 0x4610
1:	pause
	cmpl	$1, ready
	jne	1b
	SEND_TO	1, (FIXED + 0x91)
	TAKEN
	TRY
	SEND	(OTHERS + 0x92)
	TAKEN
	TRY
	SEND	(ALL + 0x93)
	TAKEN
	OPEN
	TRY
	SEND_TO	0xff, (FIXED + 0x94)
	TAKEN
	OPEN
	/* Flat logical destinations. */
	TRY
	movl	$0x01000000, APIC + LDR
	SEND_TO	2, (FIXED + LOGICAL + 0x95)
	TAKEN
	SEND_TO	3, (FIXED + LOGICAL + 0x96)
	TAKEN
	OPEN
	SEND_TO	1, (FIXED + LOGICAL + 0x97)
	OPEN
	SEND_TO	4, (FIXED + LOGICAL + 0x98)	/* to nobody */
	OPEN
	/* Clusters: both CPUs change over, CPU 1 in the handler of 0xc0. */
	TRY
	SEND_TO	1, (FIXED + 0xc0)
	TAKEN
	movl	$0x0fffffff, APIC + DFR
	movl	$0x21000000, APIC + LDR
	SEND_TO	0x22, (FIXED + LOGICAL + 0xa1)
	TAKEN
	SEND_TO	0x23, (FIXED + LOGICAL + 0xa2)
	TAKEN
	OPEN
	SEND_TO	0x32, (FIXED + LOGICAL + 0xa3)	/* another cluster */
	OPEN
	SEND_TO	0x22, (LOWEST + LOGICAL + 0xa4)
	TAKEN
	/* NMI: whatever IF and TPR say. */
	TRY
	movl	$0xff, APIC + TPR
	SEND_TO	0, NMI
1:	cmpl	$1, nmis
	jne	1b
	SEND_TO	1, NMI
	TAKEN
	movl	$0, APIC + TPR
	cmpl	$0, nmi
	je	1f
	/* One that is sent by the handler of the other waits for its IRET. */
	TRY
	movl	$1, again
	SEND_TO	0, NMI
2:	cmpl	$3, nmis
	jne	2b
1:
	/* CPU 1 answers. */
	TRY
	SEND_TO	1, (FIXED + 0xc1)
	TAKEN
1:	testl	$(1 << 2), APIC + IRR + 0x60	/* 0xc2 */
	jz	1b
	OPEN

	cmpl	$0, timer
	je	done
	/* The timer: one shot, as long as interrupts are off; then by priority, with IPIs. */
	TRY
	movl	$0xb, APIC + DIVIDE		/* by 1 */
	movl	$0x59, APIC + TIMER
	movl	$5000, APIC + INITIAL
1:	testl	$(1 << 25), APIC + IRR + 0x20
	jz	1b
	movl	APIC + CURRENT, %eax
	movl	%eax, extra
	SEND	(SELF + 0x58)
	SEND	(SELF + 0x62)
	SEND	(SELF + 0x31)
	OPEN
	TRY					/* it does not come again */
	movl	$100, %ecx
1:	movl	APIC + CURRENT, %eax
	orl	%eax, extra
	loop	1b
	OPEN
	/*
	 * Periodic: three times, then masked, and then no more. The period is long, for an emulator on real time must be
	 * done with the third time before there is a fourth.
	 */
	TRY
	movl	$0, extra
	movl	$3, ticks
	movl	$(PERIODIC + 0x5a), APIC + TIMER
	movl	$3, APIC + DIVIDE		/* by 16 */
	movl	$1000000, APIC + INITIAL
1:	sti
	hlt
	cli
	cmpl	$0, ticks
	jne	1b
	movl	$(PERIODIC + MASKED + 0x5a), APIC + TIMER
	movl	$0, APIC + INITIAL
	movl	APIC + CURRENT, %eax
	movl	%eax, extra
	SEND	(SELF + 0x32)
	OPEN
	/* Masked: it runs down, and nothing comes of it. */
	TRY
	movl	$(MASKED + 0x5b), APIC + TIMER
	movl	$0xb, APIC + DIVIDE
	movl	$2000, APIC + INITIAL
1:	cmpl	$0, APIC + CURRENT
	jne	1b
	SEND	(SELF + 0x33)
	OPEN
	/* HLT is left by the timer. */
	TRY
	movl	$0x5c, APIC + TIMER
	movl	$5000, APIC + INITIAL
	sti
	hlt
	cli
	/* The initial count stays to be read; 0 stops the timer. */
	TRY
	movl	$0x5d, APIC + TIMER
	movl	$0x7fffffff, APIC + INITIAL
	movl	APIC + CURRENT, %eax
	shrl	$28, %eax
	movl	%eax, extra
	movl	$0, APIC + INITIAL
	SEND	(SELF + 0x34)
	OPEN

done:	movl	$1, %eax
	movw	$0x505, %dx
	outb	%al, %dx
	cli
	hlt

wait_for_other:
	pushl	%eax
1:	pause
	movl	expected, %eax
	cmpl	%eax, taken
	jne	1b
	popl	%eax
	ret

other:						/* CPU 1 */
	movl	$0x02000000, APIC + LDR
	movl	$1, ready
1:	sti
	hlt
	jmp	1b

	/* Each pushes its vector. */
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
	pushal
	movl	APIC + ID, %eax
	shrl	$24, %eax
	movl	%eax, %ebp			/* the CPU */
	movl	log_end(, %ebp, 4), %edi
	addl	$128, log_end(, %ebp, 4)
	movl	attempt, %eax
	movl	%eax, (%edi)
	movl	32(%esp), %eax			/* the vector */
	movl	%eax, 4(%edi)
	movl	APIC + TPR, %eax
	movl	%eax, 8(%edi)
	movl	APIC + PPR, %eax
	movl	%eax, 12(%edi)
	.set	at, 0
	.rept	8
	movl	APIC + ISR + 16 * at, %eax
	movl	%eax, 16 + 4 * at(%edi)
	movl	APIC + IRR + 16 * at, %eax
	movl	%eax, 48 + 4 * at(%edi)
	.set	at, at + 1
	.endr
	testl	%ebp, %ebp
	jnz	1f
	movl	%esp, 80(%edi)			/* how deep it is nested */
	movl	extra, %eax
	movl	%eax, 84(%edi)
	movl	APIC + INITIAL, %eax
	movl	%eax, 88(%edi)
	movl	APIC + TIMER, %eax
	andl	$~(1 << 12), %eax
	movl	%eax, 92(%edi)
1:	movl	32(%esp), %eax
	cmpl	$2, %eax
	je	nmi_handler
	cmpl	$0x45, %eax
	je	nests
	cmpl	$0x5a, %eax
	je	ticked
	cmpl	$0xc0, %eax
	je	to_clusters
	cmpl	$0xc1, %eax
	je	answer
	cmpl	$0x6a, %eax
	je	no_eoi
eoi:	movl	$0, APIC + EOI
no_eoi:	cmpl	$0, APIC + ID			/* CPU 1 has taken it */
	je	1f
	incl	taken
1:	popal
	leal	4(%esp), %esp
	iretl

nests:	SEND	(SELF + 0x35)
	SEND	(SELF + 0x4f)
	SEND	(SELF + 0x65)
	sti
	nop
	nop
	cli
	jmp	eoi
ticked:	decl	ticks
	jnz	eoi
	movl	$(PERIODIC + MASKED + 0x5a), APIC + TIMER
	jmp	eoi
to_clusters:
	movl	$0x0fffffff, APIC + DFR
	movl	$0x22000000, APIC + LDR
	jmp	eoi
answer:	SEND_TO	0, (FIXED + 0xc2)
	jmp	eoi
nmi_handler:
	testl	%ebp, %ebp
	jnz	no_eoi
	incl	nmis
	cmpl	$0, again
	je	no_eoi
	movl	$0, again
	SEND_TO	0, NMI
	movl	$1000, %ecx			/* time for it to come */
1:	pause
	loop	1b
	movl	$0x77, extra			/* before the second one is logged */
	jmp	no_eoi

	.balign	16
started:	.long 0
ready:		.long 0
attempt:	.long 0
expected:	.long 0
taken:		.long 0
extra:		.long 0
ticks:		.long 0
again:		.long 0
nmis:		.long 0
timer:		.long 0
nmi:		.long 0
log_end:	.long LOG, LOG + LOG_SIZE
	.balign	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt
idt_pointer:
	.word	0x7ff
	.long	idt
	.balign	8
idt:	.fill	2048, 1, 0
