/* SPDX-License-Identifier: GPL-2.0-only */
/* What the minikernel's files share. Names of functions that stand for Linux's or RFC v1's are theirs. */
#ifndef KERNEL_H
#define KERNEL_H

#include "abi.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define EINVAL 22
#define ENOMEM 12

#define PAGE_SIZE 4096ul

/* entry.S and the linker script; protected, so that their addresses are computed and not read from a table */
#pragma GCC visibility push(protected)
extern u8 _text[], _etext[], _end[];
extern u8 x86_trampoline_bsp_start[], x86_trampoline_bsp_end[];
extern u8 entry_stubs[], asm_sysvec_multikernel[], asm_sysvec_reschedule_ipi[], asm_sysvec_irq_work[];
#pragma GCC visibility pop
void *memset(void *to, int value, u64 size);
void *memcpy(void *to, const void *from, u64 size);

/* main.c: the loader fills mk_boot_info; arrays of 256 are indexed by physical id */
extern u64 boot_params;
extern struct mk_boot_info mk_boot_info;
extern struct irq_stat irq_stat[256];
extern volatile u8 cpu_online[256];
struct cpumask {
	volatile u64 bits;
	u32 cpu_smt_num_threads;	/* the neighbour that v1 takes for CPU 64's bit (17) */
};
extern struct cpumask cpu_online_mask;
int smp_processor_id(void);
int arch_cpu_physical_id(int cpu);
void cpu_relax(void);

static inline void outb(u8 value, u16 port)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline u64 inb(u16 port)
{
	u8 value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* apic.c: local APIC, by its page or, in x2APIC mode, by MSRs */
u32 physical_id(void);
void enable_local_apic(void);
void apic_eoi(void);
void send_IPI(u32 apicid, u32 low);

/* console.c: with interrupts off only, so that a CPU never waits for itself */
void console_init(void);
void begin_line(void);
void end_line(void);
void put(const char *text);
void put_number(u64 value);
void put_int(int value);
void put_hex(u64 value);
void put_name(void);
void panic(const char *why) __attribute__((noreturn));

/* mm.c */
void *__va(u64 phys);
u64 memblock_phys_alloc(u64 size, u64 limit);
void *memremap(u64 phys, u64 size);
void *map_by_hand(u64 phys, u64 size);
void setup_trampolines_bsp(void);
void configure_trampolines_bsp(void);

/* irq_work.c: what an interrupt leaves to be done behind it, on its own CPU */
struct irq_work {
	struct irq_work *next;
	volatile u32 pending;
	void (*function)(struct irq_work *work);
};
void irq_work_queue(struct irq_work *work);

/* multikernel.c: RFC v1, patches 3 and 4 */
typedef void (*mk_ipi_callback_t)(struct mk_ipi_data *data, void *context);
struct mk_ipi_handler {
	mk_ipi_callback_t callback;
	void *context;
	struct mk_ipi_handler *next;
	struct mk_ipi_data *saved_data;
	struct irq_work work;
};
void multikernel_init(void);
struct mk_ipi_handler *multikernel_register_handler(mk_ipi_callback_t callback, void *context);
void multikernel_unregister_handler(struct mk_ipi_handler *handler);
long multikernel_send_ipi_data(int cpu, const void *data, u64 data_size, u32 type);
long mk_send_pfn(int cpu, u64 pfn);
long mk_receive_pfn(struct mk_ipi_data *data, u64 *pfn);
void *mk_receive_map_page(struct mk_ipi_data *data);
struct mk_ipi_data *mk_slot(u32 index);
int mk_shared_mapped(void);
void fill_slot(struct mk_ipi_data *slot, u32 sender, const void *data, u64 size, u32 type);

/* handlers.c: a handler that answers, and one that records what it sees */
void answer(struct mk_ipi_data *data, void *context);
void record(struct mk_ipi_data *data, void *context);

/* work.c: what process context asks of a CPU */
void run_work(struct cpu_work *work, u32 physical);

#endif
