/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A kernel as small as it can be and still be one: it has an IDT and a console, takes messages on vector 0xEA, answers
 * them, and halts in between. Host and spawned kernels run this same code on every CPU of theirs.
 *
 * Functions that stand for Linux's or RFC v1's have their names. Defects of v1 are kept: one slot for each CPU without a
 * full flag or lock (26), saved_data points into the slot (27), every handler runs for every type (28), the sender
 * counts CPUs logically and the receiver physically (29), the area is zeroed at boot (31).
 */

#include "abi.h"

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define EINVAL 22
#define ENOMEM 12

#define ID_REGISTER 0x20
#define EOI_REGISTER 0xb0
#define SVR_REGISTER 0xf0
#define ICR_LOW 0x300
#define ICR_HIGH 0x310
#define SVR_ENABLE 0x100
#define SPURIOUS_VECTOR 0xff

#define COM1 0x3f8
#define LINE_STATUS 5
#define TRANSMITTER_EMPTY 0x20

#define MK_PING 1
#define MK_PONG 2

u64 boot_params;
struct mk_boot_info mk_boot_info = {.nr_cpu_ids = 1};	/* set by the loader */
struct cpu_work cpu_work[256];				/* by physical id, like all that follows */
volatile u8 cpu_online[256];
volatile u32 irq_call_count[256];			/* v1 counts 0xEA among function-call interrupts (40) */

struct {
	u64 words[2];
} idt[256] __attribute__((aligned(16)));

extern char asm_sysvec_multikernel[], asm_sysvec_reschedule_ipi[], asm_spurious[], exception_stubs[];

/* The hardware */

static u32 apic_read(u32 offset)
{
	return *(volatile u32 *)(0xfee00000ul + offset);
}

static void apic_write(u32 offset, u32 value)
{
	*(volatile u32 *)(0xfee00000ul + offset) = value;
}

static u32 physical_id(void)
{
	return apic_read(ID_REGISTER) >> 24;
}

static void outb(u8 value, unsigned short port)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static u8 inb(unsigned short port)
{
	u8 value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void cpu_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* The compiler asks for these by name. */

void *memset(void *to, int value, u64 size)
{
	u8 *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, u64 size)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
	return to;
}

/* The console. Always used with interrupts off, so a CPU never waits for itself. */

static volatile u32 console_lock;

static void put(const char *text)
{
	for (; *text; text++) {
		while (!(inb(COM1 + LINE_STATUS) & TRANSMITTER_EMPTY))
			cpu_relax();
		outb((u8)*text, COM1);
	}
}

static void put_number(u64 value, u32 base)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = 0;
	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put(at);
}

static void put_int(int value)
{
	if (value < 0)
		put("-");
	put_number(value < 0 ? -(u64)value : (u64)value, 10);
}

static void begin_line(void)
{
	while (__atomic_exchange_n(&console_lock, 1, __ATOMIC_ACQUIRE))
		cpu_relax();
}

static void end_line(void)
{
	put("\n");
	__atomic_store_n(&console_lock, 0, __ATOMIC_RELEASE);
}

static void put_name(void)
{
	if (mk_boot_info.kernel_id) {
		put("kernel ");
		put_number(mk_boot_info.kernel_id, 10);
	} else {
		put("host");
	}
}

void die(u64 vector, u64 error, u64 rip)
{
	begin_line();
	put_name();
	put(": exception ");
	put_number(vector, 10);
	put(", error code 0x");
	put_number(error, 16);
	put(", at 0x");
	put_number(rip, 16);
	put("; CPU with physical id ");
	put_number(physical_id(), 10);
	put(" stops");
	end_line();
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* CPU numbers: this kernel's own logical ones, and the hardware's physical ones. */

static int smp_processor_id(void)
{
	u32 physical = physical_id();

	for (u32 cpu = 0; cpu < mk_boot_info.nr_cpu_ids; cpu++)
		if (mk_boot_info.apicid[cpu] == physical)
			return (int)cpu;
	return -1;
}

static int arch_cpu_physical_id(int cpu)
{
	return mk_boot_info.apicid[cpu];
}

/* Messages: RFC v1, kernel/multikernel.c */

static struct mk_ipi_data *mk_slot(u32 cpu)
{
	return (struct mk_ipi_data *)mk_boot_info.shared + cpu;
}

static void send_IPI(u32 apicid, u32 vector)
{
	apic_write(ICR_HIGH, apicid << 24);
	apic_write(ICR_LOW, vector);
}

static void fill_slot(struct mk_ipi_data *slot, const void *data, u64 size, u32 type)
{
	slot->data_size = size;
	slot->sender_cpu = (int)physical_id();
	slot->type = type;
	memcpy(slot->buffer, data, size);
}

long multikernel_send_ipi_data(int cpu, const void *data, u64 data_size, u32 type)
{
	if (cpu < 0 || (u32)cpu >= mk_boot_info.nr_cpu_ids)
		return -EINVAL;
	if (data_size > MK_MAX_DATA_SIZE)
		return -EINVAL;
	if (!mk_boot_info.shared)
		return -ENOMEM;
	fill_slot(mk_slot((u32)cpu), data, data_size, type);	/* the logical number (29) */
	send_IPI((u32)arch_cpu_physical_id(cpu), MULTIKERNEL_VECTOR);
	return 0;
}

typedef void (*mk_ipi_callback_t)(struct mk_ipi_data *data, void *context);

static struct mk_ipi_handler {
	mk_ipi_callback_t callback;
	void *context;
	struct mk_ipi_handler *next;
	struct mk_ipi_data *saved_data;
	volatile u32 pending;			/* physical id + 1 of the CPU that has its irq_work queued */
} *mk_handlers;

static void multikernel_register_handler(struct mk_ipi_handler *handler)
{
	handler->next = mk_handlers;
	mk_handlers = handler;
}

void sysvec_multikernel(void)
{
	int cpu = smp_processor_id();
	u32 physical = physical_id();
	struct mk_ipi_data *slot;

	apic_write(EOI_REGISTER, 0);
	irq_call_count[physical]++;
	if (!mk_boot_info.shared) {
		begin_line();
		put("Multikernel IPI received but shared memory not initialized");
		end_line();
		return;
	}
	slot = mk_slot(physical);		/* the physical number (29) */
	begin_line();
	put("Multikernel IPI received on CPU ");
	put_int(cpu);
	put(" (physical id ");
	put_number(physical, 10);
	put(") from CPU ");
	put_int(slot->sender_cpu);
	put(" type=");
	put_number(slot->type, 10);
	end_line();
	for (struct mk_ipi_handler *handler = mk_handlers; handler; handler = handler->next) {
		handler->saved_data = slot;	/* not a copy, and of a queued work too (27) */
		if (!handler->pending)
			handler->pending = physical + 1;
	}
}

void sysvec_reschedule_ipi(void)
{
	apic_write(EOI_REGISTER, 0);
}

/* The one handler: says what came, and answers a ping with the same bytes. */

static void answer(struct mk_ipi_data *data, void *context)
{
	u64 size = data->data_size < MK_MAX_DATA_SIZE ? data->data_size : MK_MAX_DATA_SIZE;
	char text[MK_MAX_DATA_SIZE + 1];
	u32 sender = (u32)data->sender_cpu;

	(void)context;
	for (u64 i = 0; i < size; i++)
		text[i] = data->buffer[i] >= ' ' && data->buffer[i] < 127 ? (char)data->buffer[i] : '.';
	text[size] = 0;
	begin_line();
	put_name();
	put(data->type == MK_PONG ? ": answer from CPU " : ": message from CPU ");
	put_int(data->sender_cpu);
	put(": ");
	put(text);
	end_line();
	if (data->type != MK_PING || sender >= NR_CPUS)
		return;
	/* By physical number: v1's own function could not name another kernel's CPU from here (29). */
	fill_slot(mk_slot(sender), data->buffer, size, MK_PONG);
	send_IPI(sender, MULTIKERNEL_VECTOR);
}

static struct mk_ipi_handler answer_handler;

/* irq_work runs behind the interrupt; here the idle loop does it. */
static void irq_work_run(u32 physical)
{
	for (struct mk_ipi_handler *handler = mk_handlers; handler; handler = handler->next) {
		if (handler->pending != physical + 1)
			continue;
		handler->pending = 0;
		handler->callback(handler->saved_data, handler->context);
	}
}

/* What process context asks of this CPU */

static void play_dead(struct cpu_work *work, u32 physical)
{
	work->state = WORK_DONE;
	cpu_online[physical] = 0;		/* last: from here on, whoever waits may leave new work */
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void run_work(struct cpu_work *work, u32 physical)
{
	switch (work->function) {
	case WORK_SEND_IPI_DATA:
		work->result = multikernel_send_ipi_data((int)work->args[0], work->data, work->args[1],
							 (u32)work->args[2]);
		break;
	case WORK_PLAY_DEAD:
		play_dead(work, physical);
		break;
	default:
		work->result = -EINVAL;
	}
	work->state = WORK_DONE;
}

static void idle(u32 physical)
{
	struct cpu_work *work = &cpu_work[physical];

	for (;;) {
		__asm__ volatile("cli" ::: "memory");
		irq_work_run(physical);
		if (*(volatile u32 *)&work->state == WORK_QUEUED) {
			run_work(work, physical);
			continue;
		}
		/* STI takes effect behind HLT: no interrupt is lost in between. */
		__asm__ volatile("sti; hlt" ::: "memory");
	}
}

/* Start-up */

static void set_gate(u32 vector, const char *handler)
{
	u64 offset = (u64)handler;

	idt[vector].words[0] = (offset & 0xffff) | 0x10ul << 16 | 0x8eul << 40 | (offset >> 16 & 0xffff) << 48;
	idt[vector].words[1] = offset >> 32;
}

static void trap_init(void)
{
	for (u32 vector = 0; vector < 256; vector++)
		set_gate(vector, vector < 32 ? exception_stubs + 16 * vector : asm_spurious);
	set_gate(2, asm_spurious);
	set_gate(MULTIKERNEL_VECTOR, asm_sysvec_multikernel);
	set_gate(RESCHEDULE_VECTOR, asm_sysvec_reschedule_ipi);
}

static void load_idt(void)
{
	struct {
		unsigned short limit;
		u64 base;
	} __attribute__((packed)) pointer;

	pointer.limit = sizeof(idt) - 1;
	/* Computed here, so that the compiler does not ask for a relocation. */
	__asm__("lea idt(%%rip), %0" : "=r"(pointer.base));
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static void multikernel_init(void)
{
	if (!mk_boot_info.shared)
		return;
	memset(mk_slot(0), 0, NR_CPUS * sizeof(struct mk_ipi_data));	/* whatever is in flight (31) */
	answer_handler.callback = answer;	/* at run time: the image has no relocations */
	multikernel_register_handler(&answer_handler);
}

void start_cpu(u32 secondary)
{
	u32 physical = physical_id();

	if (!secondary) {
		trap_init();
		multikernel_init();
	}
	load_idt();
	apic_write(SVR_REGISTER, SVR_ENABLE | SPURIOUS_VECTOR);
	begin_line();
	put_name();
	if (secondary) {
		put(": CPU ");
		put_int(smp_processor_id());
		put(" up");
	} else {
		put(" up, boot_params at 0x");
		put_number(boot_params, 16);
	}
	end_line();
	cpu_online[physical] = 1;
	idle(physical);
}
