/* SPDX-License-Identifier: GPL-2.0-only */
/* The local APIC: a page at 0xfee00000 or, in x2APIC mode, MSRs from 0x800 (SDM "Extended XAPIC (x2APIC)"). */

#include "kernel.h"

#define ID_REGISTER 0x20
#define EOI_REGISTER 0xb0
#define SVR_REGISTER 0xf0
#define ICR_LOW 0x300
#define ICR_HIGH 0x310
#define SVR_ENABLE 0x100

#define MSR_APIC_BASE 0x1b
#define X2APIC_ENABLED (1u << 10)
#define MSR_X2APIC 0x800

static u64 rdmsr(u32 msr)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static int x2apic;			/* alike on every CPU; set by the first */

static u64 apic_read(u32 offset)
{
	if (x2apic)
		return rdmsr(MSR_X2APIC + offset / 16);
	return *(volatile u32 *)(0xfee00000ul + offset);
}

static void apic_write(u32 offset, u32 value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + offset / 16, value);
	else
		*(volatile u32 *)(0xfee00000ul + offset) = value;
}

u32 physical_id(void)
{
	return (u32)(x2apic ? apic_read(ID_REGISTER) : apic_read(ID_REGISTER) >> 24);
}

void enable_local_apic(void)
{
	x2apic = (rdmsr(MSR_APIC_BASE) & X2APIC_ENABLED) != 0;
	apic_write(SVR_REGISTER, SVR_ENABLE | SPURIOUS_VECTOR);
}

void apic_eoi(void)
{
	apic_write(EOI_REGISTER, 0);
}

void send_IPI(u32 apicid, u32 low)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC + ICR_LOW / 16, (u64)apicid << 32 | low);
		return;
	}
	apic_write(ICR_HIGH, apicid << 24);
	apic_write(ICR_LOW, low);
}
