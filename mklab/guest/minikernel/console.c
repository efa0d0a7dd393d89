/* SPDX-License-Identifier: GPL-2.0-only */
/* The console: the first serial port, polled. A line belongs to one CPU. */

#include "kernel.h"

#define COM1 0x3f8
#define LINE_STATUS 5
#define TRANSMITTER_EMPTY 0x20

static volatile u32 console_lock;

void put(const char *text)
{
	for (; *text; text++) {
		while (!(inb(COM1 + LINE_STATUS) & TRANSMITTER_EMPTY))
			cpu_relax();
		outb((u8)*text, COM1);
	}
}

static void put_digits(u64 value, u32 base)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = 0;
	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put(at);
}

void put_number(u64 value)
{
	put_digits(value, 10);
}

void put_int(int value)
{
	if (value < 0)
		put("-");
	put_digits(value < 0 ? -(u64)value : (u64)value, 10);
}

void put_hex(u64 value)
{
	put_digits(value, 16);
}

void begin_line(void)
{
	while (__atomic_exchange_n(&console_lock, 1, __ATOMIC_ACQUIRE))
		cpu_relax();
}

void end_line(void)
{
	put("\n");
	__atomic_store_n(&console_lock, 0, __ATOMIC_RELEASE);
}

void put_name(void)
{
	if (mk_boot_info.kernel_id) {
		put("kernel ");
		put_number(mk_boot_info.kernel_id);
	} else {
		put("host");
	}
}

void panic(const char *why)
{
	begin_line();
	put("Kernel panic - not syncing: ");
	put(why);
	end_line();
	for (;;)
		__asm__ volatile("cli; hlt");
}
