/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A kernel as small as it can be and still be one: it has page tables, an IDT and a console, takes messages on vector
 * 0xEA, answers them, and halts in between. Host and spawned kernels run this same code on every CPU of theirs.
 */

#include "kernel.h"

u64 boot_params;
struct mk_boot_info mk_boot_info = {.nr_cpu_ids = 1};	/* set by the loader */
struct cpu_work cpu_work[256];				/* by physical id, like all that follows */
volatile u8 cpu_online[256];
struct irq_stat irq_stat[256];

/* By logical number; last in the image, so that what lies behind it is read for bits beyond it, as in v1 (17). */
struct cpumask cpu_online_mask __attribute__((section(".bss.last")));

/* init_uts_ns.name.nodename: writable data, and nothing more private than that (14) */
char nodename[65] = "(none)";

struct {
	u64 words[2];
} idt[256] __attribute__((aligned(16)));

void cpu_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* CPU numbers: this kernel's own logical ones, and the hardware's physical ones. */

int smp_processor_id(void)
{
	u32 physical = physical_id();

	for (u32 cpu = 0; cpu < mk_boot_info.nr_cpu_ids; cpu++)
		if (mk_boot_info.apicid[cpu] == physical)
			return (int)cpu;
	return -1;
}

int arch_cpu_physical_id(int cpu)
{
	return mk_boot_info.apicid[cpu];
}

/* Interrupts and exceptions */

void sysvec_reschedule_ipi(void)
{
	apic_eoi();
	irq_stat[physical_id() & 255].reschedule++;
}

static void die(u64 vector, u64 error, u64 rip)
{
	u64 address;

	begin_line();
	put_name();
	put(": exception ");
	put_number(vector);
	put(", error code 0x");
	put_hex(error);
	put(", at 0x");
	put_hex(rip);
	if (vector == PAGE_FAULT) {
		__asm__("movq %%cr2, %0" : "=r"(address));
		put(", address 0x");
		put_hex(address);
	}
	put("; CPU with physical id ");
	put_number(physical_id());
	put(" stops");
	end_line();
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void unknown_nmi_error(void)
{
	begin_line();
	put("Uhhuh. NMI received for unknown reason ");
	put_hex(inb(NMI_REASON_PORT));
	put(" on CPU ");
	put_int(smp_processor_id());
	put(".");
	end_line();
	begin_line();
	put("Dazed and confused, but trying to continue");
	end_line();
}

/* arch/x86/kernel/irq.c, common_interrupt: nobody has asked for this vector. */
static void no_irq_handler(u64 vector)
{
	apic_eoi();
	begin_line();
	put("No irq handler for ");
	put_int(smp_processor_id());
	put(".");
	put_number(vector);
	end_line();
}

void other_interrupt(u64 vector, u64 error, u64 rip)
{
	struct cpu_work *work = &cpu_work[physical_id() & 255];

	if (vector == NMI_VECTOR && work->state == WORK_QUEUED && work->function == WORK_PLAY_DEAD)
		return;				/* a crash stops the other CPUs so: the idle loop sees to it */
	if (vector == NMI_VECTOR)
		unknown_nmi_error();
	else if (vector < FIRST_EXTERNAL_VECTOR)
		die(vector, error, rip);
	else if (vector == SPURIOUS_VECTOR)
		irq_stat[physical_id() & 255].spurious++;	/* no EOI (SDM "Spurious Interrupt") */
	else
		no_irq_handler(vector);
}

static void set_gate(u32 vector, const u8 *handler)
{
	u64 offset = (u64)handler;

	idt[vector].words[0] = (offset & 0xffff) | 0x10ul << 16 | 0x8eul << 40 | (offset >> 16 & 0xffff) << 48;
	idt[vector].words[1] = offset >> 32;
}

static void trap_init(void)
{
	for (u32 vector = 0; vector < 256; vector++)
		set_gate(vector, entry_stubs + 16 * vector);
	set_gate(MULTIKERNEL_VECTOR, asm_sysvec_multikernel);
	set_gate(RESCHEDULE_VECTOR, asm_sysvec_reschedule_ipi);
	set_gate(IRQ_WORK_VECTOR, asm_sysvec_irq_work);
}

static void load_idt(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) pointer;

	pointer.limit = sizeof(idt) - 1;
	/* Computed here, so that the compiler does not ask for a relocation. */
	__asm__("lea idt(%%rip), %0" : "=r"(pointer.base));
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

/* Start-up */

static void idle(u32 physical)
{
	struct cpu_work *work = &cpu_work[physical];

	for (;;) {
		__asm__ volatile("cli" ::: "memory");
		if (*(volatile u32 *)&work->state == WORK_QUEUED) {
			run_work(work, physical);
			continue;
		}
		/* STI takes effect behind HLT: no interrupt is lost in between. */
		__asm__ volatile("sti; hlt" ::: "memory");
	}
}

static void start_kernel(void)
{
	console_init();
	cpu_online_mask.cpu_smt_num_threads = 1;
	setup_trampolines_bsp();
	trap_init();
	multikernel_init();
	if (mk_shared_mapped())
		multikernel_register_handler(answer, (void *)0);	/* the lab's own "module" */
	configure_trampolines_bsp();
}

void start_cpu(u32 secondary)
{
	u32 physical;
	int cpu;

	enable_local_apic();
	physical = physical_id() & 255;
	cpu = smp_processor_id();
	if (!secondary)
		start_kernel();
	load_idt();
	begin_line();
	put_name();
	if (secondary) {
		put(": CPU ");
		put_int(cpu);
		put(" up");
	} else {
		put(" up, boot_params at 0x");
		put_hex(boot_params);
	}
	end_line();
	if (cpu >= 0)
		__atomic_fetch_or(&cpu_online_mask.bits, 1ul << cpu, __ATOMIC_SEQ_CST);
	cpu_online[physical] = 1;
	idle(physical);
}
