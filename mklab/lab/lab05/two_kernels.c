/*
 * Two kernels on four CPUs with the APIC ids 0, 2, 4 and 6, which find slots and send interrupts by the answer's three
 * functions. The host has logical CPUs 0 to 3 with the ids 0, 2, 4, 6; it has given up the one with id 4, where
 * kernel 1 runs: its logical CPU 0 is id 4, its CPU 1 is id 0.
 */
#include "abi.h"

struct mk_ipi_data *slot_to_fill(int cpu);
struct mk_ipi_data *slot_to_read(void);
unsigned int ipi_destination(int cpu);

struct mk_ipi_data *const mk_shared_data = (struct mk_ipi_data *)0x100000ul;
#define SEEN ((volatile unsigned int *)0x40000ul)	/* by APIC id, 4 words: type, how often, where it looked */
#define SENT ((volatile unsigned int *)0x41000ul)	/* by type, 201 at 11: where it was put */
#define APIC ((volatile unsigned int *)0xfee00000ul)

static const int host[] = {0, 2, 4, 6}, kernel_1[] = {4, 0};

int physical_id(void)
{
	return (int)(APIC[0x20 / 4] >> 24);
}

int arch_cpu_physical_id(int cpu)
{
	return physical_id() == 4 ? kernel_1[cpu & 1] : host[cpu & 3];
}

int smp_processor_id(void)
{
	int physical = physical_id();

	return physical == 4 ? 0 : physical / 2;
}

static void send(int cpu, unsigned int type)
{
	struct mk_ipi_data *slot = slot_to_fill(cpu);

	SENT[type % 100 + type / 200 * 10] = (unsigned int)((char *)slot - (char *)mk_shared_data);
	slot->sender_cpu = physical_id();
	slot->type = type;
	APIC[0x310 / 4] = ipi_destination(cpu) << 24;
	APIC[0x300 / 4] = MULTIKERNEL_VECTOR;
}

void receive(void)
{
	volatile unsigned int *seen = SEEN + 4 * physical_id();
	struct mk_ipi_data *slot = slot_to_read();

	APIC[0xb0 / 4] = 0;
	seen[0] = slot->type;
	seen[1]++;
	seen[2] = (unsigned int)((char *)slot - (char *)mk_shared_data);
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
