/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What process context asks of a CPU: in Linux a system call or a module would do it. All of it runs with interrupts
 * off, on the CPU that was asked.
 */

#include "kernel.h"

static void play_dead(struct cpu_work *work, u32 physical)
{
	int cpu = smp_processor_id();

	if (cpu >= 0)
		__atomic_fetch_and(&cpu_online_mask.bits, ~(1ul << cpu), __ATOMIC_SEQ_CST);
	work->state = WORK_DONE;
	cpu_online[physical] = 0;		/* last: from here on, whoever waits may leave new work */
	for (;;)
		__asm__ volatile("cli; hlt");
}

static long send(const struct cpu_work *work)
{
	long result = 0;

	for (u64 i = 0; i <= work->args[3]; i++)	/* once, and args[3] times more with the types that follow */
		result = multikernel_send_ipi_data((int)work->args[0], work->data, work->args[1],
						   (u32)(work->args[2] + i));
	return result;
}

/* A slot and ICR written by hand, past the API: how kernels without a common numbering talk, and how one floods. */
static void send_by_hand(const struct cpu_work *work)
{
	u64 size = work->args[3] < MK_MAX_DATA_SIZE ? work->args[3] : MK_MAX_DATA_SIZE;

	for (u64 i = 0; i < work->args[6]; i++) {
		if (work->args[0] < NR_CPUS) {
			struct mk_ipi_data *slot = mk_slot((u32)work->args[0]);

			fill_slot(slot, (u32)work->args[1], work->data, size, (u32)work->args[2]);
			slot->data_size = work->args[3];	/* whatever is claimed */
		}
		send_IPI((u32)work->args[4], (u32)work->args[5]);
	}
}

static struct mk_ipi_handler *handler_of(u64 number)
{
	return number ? multikernel_register_handler(record, (void *)number) :
			multikernel_register_handler(answer, (void *)0);
}

void run_work(struct cpu_work *work, u32 physical)
{
	u64 *args = work->args;
	u64 pfn = 0;

	work->result = 0;
	switch (work->function) {
	case WORK_PLAY_DEAD:
		play_dead(work, physical);
		break;
	case WORK_SEND_IPI_DATA:
		work->result = send(work);
		break;
	case WORK_SEND_BY_HAND:
		send_by_hand(work);
		break;
	case WORK_REGISTER_HANDLER:
		work->result = (long)handler_of(args[0]);
		break;
	case WORK_UNREGISTER_HANDLER:
		multikernel_unregister_handler((struct mk_ipi_handler *)args[0]);
		break;
	case WORK_SEND_PFN:
		work->result = mk_send_pfn((int)args[0], args[1]);
		break;
	case WORK_RECEIVE_PFN:
		work->result = mk_receive_pfn(mk_slot(physical), &pfn);
		args[0] = pfn;
		break;
	case WORK_RECEIVE_MAP_PAGE:
		work->result = (long)mk_receive_map_page(mk_slot(physical));
		break;
	case WORK_STORE:
		memcpy(map_by_hand(args[0], args[1]), work->data, args[1]);
		break;
	case WORK_LOAD:
		memcpy(work->data, map_by_hand(args[0], args[1]), args[1]);
		break;
	case WORK_OUT:
		outb((u8)args[1], (u16)args[0]);
		break;
	default:
		work->result = -EINVAL;
	}
	work->state = WORK_DONE;
}
