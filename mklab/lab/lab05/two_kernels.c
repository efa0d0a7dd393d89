/*
 * Two kernels on four CPUs with the APIC ids 0, 2, 4 and 6, which find slots and send interrupts by the answer's three
 * functions. Each CPU finds at KERNEL + 64 x its APIC id what its kernel knows: its own number there, and the APIC id of
 * each of the kernel's CPUs.
 */
#include "abi.h"

struct mk_ipi_data *slot_to_fill(int cpu);
struct mk_ipi_data *slot_to_read(void);
unsigned int ipi_destination(int cpu);

#define AREA 0x100000ul
#define SEEN ((volatile unsigned int *)0x40000ul)	/* by APIC id, 4 words: type, how often, where it looked */
#define SENT ((volatile unsigned int *)0x41000ul)	/* by type, 201 at 11: where it was put */
#define IDS ((volatile unsigned int *)0x41100ul)	/* by type likewise: the id that was to be interrupted */
#define APIC ((volatile unsigned int *)0xfee00000ul)

static unsigned int physical_id(void)
{
	return APIC[0x20 / 4] >> 24;
}

static void send(int cpu, unsigned int type)
{
	struct mk_ipi_data *slot = slot_to_fill(cpu);
	unsigned int id = ipi_destination(cpu), note = type % 100 + type / 200 * 10;

	IDS[note] = id;
	SENT[note] = (unsigned int)((unsigned long)slot - AREA);
	slot->sender_cpu = (int)physical_id();
	slot->type = type;
	APIC[0x310 / 4] = id << 24;
	APIC[0x300 / 4] = MULTIKERNEL_VECTOR;
}

void receive(void)
{
	volatile unsigned int *seen = SEEN + 4 * physical_id();
	struct mk_ipi_data *slot = slot_to_read();

	APIC[0xb0 / 4] = 0;
	seen[0] = slot->type;
	seen[1]++;
	seen[2] = (unsigned int)((unsigned long)slot - AREA);
}

static void wait(void)
{
	for (int i = 0; i < 2000; i++)
		__asm__ volatile("pause");
}

void host_sends(void)
{
	for (int cpu = 1; cpu < 4; cpu++) {
		send(cpu, 100u + (unsigned int)cpu);
		wait();
	}
}

void kernel_1_sends(void)
{
	for (int i = 0; i < 6; i++)
		wait();
	send(1, 201);
}
