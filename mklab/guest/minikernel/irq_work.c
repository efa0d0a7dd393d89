/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * irq_work: an interrupt handler queues work for its own CPU and sends it an IPI; the work runs in that interrupt, in
 * hard-IRQ context (kernel/irq_work.c). Work that is queued already stays queued once: two requests become one (defect
 * 27).
 */

#include "kernel.h"

#define APIC_DEST_SELF 0x40000

static struct irq_work *raised_list[256];	/* by physical id */

void irq_work_queue(struct irq_work *work)
{
	struct irq_work **list = &raised_list[physical_id() & 255];

	if (__atomic_exchange_n(&work->pending, 1, __ATOMIC_ACQUIRE))
		return;
	work->next = *list;
	*list = work;
	send_IPI(0, APIC_DEST_SELF | IRQ_WORK_VECTOR);
}

void sysvec_irq_work(void)
{
	u32 physical = physical_id() & 255;
	struct irq_work *work = raised_list[physical], *next;

	apic_eoi();
	irq_stat[physical].irq_work++;
	raised_list[physical] = (void *)0;
	for (; work; work = next) {
		next = work->next;
		__atomic_store_n(&work->pending, 0, __ATOMIC_RELEASE);
		work->function(work);
	}
}
