/* SPDX-License-Identifier: GPL-2.0-only */
/* Two handlers of messages, which v1 leaves to modules. They run in hard-IRQ context, on the slot itself. */

#include "kernel.h"

struct handler_record handler_records[HANDLER_RECORDS];
volatile u32 handler_record_count;

/* Says what came, and answers a ping with the same bytes. */
void answer(struct mk_ipi_data *data, void *context)
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
	fill_slot(mk_slot(sender), physical_id(), data->buffer, size, MK_PONG);
	send_IPI(sender, MULTIKERNEL_VECTOR);
}

/* Notes what it was handed; context tells the handlers apart. */
void record(struct mk_ipi_data *data, void *context)
{
	u32 index = __atomic_fetch_add(&handler_record_count, 1, __ATOMIC_RELAXED) % HANDLER_RECORDS;
	struct handler_record *note = &handler_records[index];

	note->context = (u64)context;
	note->type = data->type;
	note->sender_cpu = data->sender_cpu;
	note->data_size = data->data_size;	/* as claimed (38) */
	note->data = (u64)data;
}
