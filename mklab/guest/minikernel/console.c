/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The console: the first serial port, polled. A line belongs to one CPU. As Linux' 8250 driver does
 * (serial8250_console_fifo_write), it fills the FIFO whenever the transmitter is empty.
 */

#include "kernel.h"

#define COM1 0x3f8
#define FIFO_CONTROL 2			/* to write */
#define FIFO_ENABLE 0x01
#define INTERRUPT_ID 2			/* to read: bits 6 and 7 say whether there is a FIFO that works */
#define FIFO_SIZE 16
#define LINE_STATUS 5
#define TRANSMITTER_EMPTY 0x20

static volatile u32 console_lock;
static u32 tx_loadsz = 1;

void console_init(void)
{
	outb(FIFO_ENABLE, COM1 + FIFO_CONTROL);
	if (inb(COM1 + INTERRUPT_ID) >> 6 == 3)
		tx_loadsz = FIFO_SIZE;
}

void put(const char *text)
{
	while (*text) {
		while (!(inb(COM1 + LINE_STATUS) & TRANSMITTER_EMPTY))
			cpu_relax();
		for (u32 room = tx_loadsz; room && *text; room--)
			outb((u8)*text++, COM1);
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
