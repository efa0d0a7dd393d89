/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * RFC v1, patches 3 to 5: vector 0xEA and messages between kernels (kernel/multikernel.c).
 *
 * Defects of v1 that are kept: one slot for each CPU without a full flag or lock (26), saved_data points into the slot
 * (27), every handler runs for every type (28), the sender counts CPUs logically and the receiver physically (29), which
 * nothing bounds (30), the area is zeroed at boot (31), nobody reserves it (33), and a failure to map it has no
 * consequence (36).
 */

#include "kernel.h"

#define MK_SHARED_DATA_SIZE (NR_CPUS * sizeof(struct mk_ipi_data))
#define MK_MEM_SIZE (MK_SHARED_DATA_SIZE + PAGE_SIZE)		/* not a multiple of a page (34) */

u64 mk_shared_phys;
u64 mk_shared_resource[2];			/* first and last address, as /proc/iomem has it */
static struct mk_ipi_data *mk_shared_data;
static struct mk_ipi_handler *mk_handlers;
static struct mk_ipi_handler handlers[8];	/* what kzalloc() would give */

static void line_with_range(const char *text, u64 first, u64 last)
{
	begin_line();
	put(text);
	put("0x");
	put_hex(first);
	put("-0x");
	put_hex(last);
	end_line();
}

static int mk_shared_memory_init(void)
{
	mk_shared_phys = mk_boot_info.shared;
	if (mk_shared_phys) {
		begin_line();
		put("Using specified physical address 0x");
		put_hex(mk_shared_phys);
		put(" for multikernel shared memory");
		end_line();
	} else {
		mk_shared_phys = memblock_phys_alloc(MK_MEM_SIZE, -PAGE_SIZE);
	}
	mk_shared_data = memremap(mk_shared_phys, MK_MEM_SIZE);
	/* v1 has no safe way to share the area; with this flag a kernel maps it all the same (docs/fidelity.md). */
	if (!mk_shared_data && mk_boot_info.flags & MK_AGREED_SHARED_MEMORY)
		mk_shared_data = map_by_hand(mk_shared_phys, MK_MEM_SIZE);
	if (!mk_shared_data) {
		begin_line();
		put("Failed to map shared memory at 0x");
		put_hex(mk_shared_phys);
		put(" for multikernel IPI data");
		end_line();
		return -ENOMEM;
	}
	begin_line();
	put("Allocated and mapped multikernel shared memory: phys=0x");
	put_hex(mk_shared_phys);
	put(", virt=");
	put_hex((u64)mk_shared_data);			/* a raw pointer (44) */
	put(", size=");
	put_number(MK_MEM_SIZE);
	put(" bytes");
	end_line();
	memset(mk_shared_data, 0, MK_SHARED_DATA_SIZE);	/* whatever is in flight (31) */
	return 0;
}

void multikernel_init(void)
{
	/* A kernel that is started once more finds its variables as they were. */
	mk_handlers = (void *)0;
	memset(handlers, 0, sizeof(handlers));
	if (mk_shared_memory_init() == 0) {
		begin_line();
		put("Multikernel IPI support initialized");
		end_line();
	}
	mk_shared_resource[0] = mk_shared_phys;		/* mapped or not (36) */
	mk_shared_resource[1] = mk_shared_phys + MK_MEM_SIZE - 1;
	line_with_range("Registered multikernel shared memory in resource tree: ", mk_shared_resource[0],
			mk_shared_resource[1]);
}

int mk_shared_mapped(void)
{
	return mk_shared_data != (void *)0;
}

struct mk_ipi_data *mk_slot(u32 index)
{
	return mk_shared_data + index;
}

/* Handlers */

static void handler_work(struct irq_work *work)
{
	struct mk_ipi_handler *handler =
		(struct mk_ipi_handler *)((u8 *)work - __builtin_offsetof(struct mk_ipi_handler, work));

	handler->callback(handler->saved_data, handler->context);
}

struct mk_ipi_handler *multikernel_register_handler(mk_ipi_callback_t callback, void *context)
{
	for (u32 i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		struct mk_ipi_handler *handler = &handlers[i];

		if (handler->callback)
			continue;
		handler->callback = callback;
		handler->context = context;
		handler->work.function = handler_work;
		handler->next = mk_handlers;
		mk_handlers = handler;
		return handler;
	}
	return (void *)0;
}

void multikernel_unregister_handler(struct mk_ipi_handler *handler)
{
	for (struct mk_ipi_handler **at = &mk_handlers; *at; at = &(*at)->next) {
		if (*at == handler) {
			*at = handler->next;
			break;
		}
	}
	/* irq_work_sync() and kfree(), also of what was freed before (41) */
	while (handler->work.pending)
		cpu_relax();
	handler->callback = (void *)0;
}

/* Sending */

void fill_slot(struct mk_ipi_data *slot, u32 sender, const void *data, u64 size, u32 type)
{
	slot->data_size = size;
	slot->sender_cpu = (int)sender;
	slot->type = type;
	memcpy(slot->buffer, data, size);
}

long multikernel_send_ipi_data(int cpu, const void *data, u64 data_size, u32 type)
{
	if (cpu < 0 || (u32)cpu >= mk_boot_info.nr_cpu_ids)
		return -EINVAL;
	if (data_size > MK_MAX_DATA_SIZE)
		return -EINVAL;
	if (!mk_shared_data)
		return -ENOMEM;
	fill_slot(mk_slot((u32)cpu), physical_id(), data, data_size, type);	/* the logical number (29) */
	send_IPI((u32)arch_cpu_physical_id(cpu), MULTIKERNEL_VECTOR);
	return 0;
}

long mk_send_pfn(int cpu, u64 pfn)
{
	return multikernel_send_ipi_data(cpu, &pfn, sizeof(pfn), MK_PFN_IPI_TYPE);
}

/* Any PFN is taken: nobody asks whose page it is (37). */
long mk_receive_pfn(struct mk_ipi_data *data, u64 *pfn)
{
	if (data->type != MK_PFN_IPI_TYPE || data->data_size != sizeof(*pfn))
		return -EINVAL;
	memcpy(pfn, data->buffer, sizeof(*pfn));
	return 0;
}

void *mk_receive_map_page(struct mk_ipi_data *data)
{
	u64 pfn;

	if (mk_receive_pfn(data, &pfn) < 0)
		return (void *)0;
	return map_by_hand(pfn * PAGE_SIZE, PAGE_SIZE);
}

/* Receiving: one line for each, at info level, in hard-IRQ context (39) */

void sysvec_multikernel(void)
{
	u32 physical = physical_id();
	struct mk_ipi_data *slot;

	apic_eoi();
	irq_stat[physical & 255].call++;	/* counted as a function call (40) */
	begin_line();
	if (!mk_shared_data) {
		put("Multikernel IPI received but shared memory not initialized");
		end_line();
		return;
	}
	slot = mk_slot(physical);		/* the physical number (29), however large (30) */
	put("Multikernel IPI received on CPU ");
	put_int(smp_processor_id());
	put(" (physical id ");
	put_number(physical);
	put(") from CPU ");
	put_int(slot->sender_cpu);
	put(" type=");
	put_number(slot->type);
	end_line();
	for (struct mk_ipi_handler *handler = mk_handlers; handler; handler = handler->next) {
		handler->saved_data = slot;	/* not a copy, and of queued work too (27) */
		irq_work_queue(&handler->work);
	}
}
