/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory: page tables, the memory map, and the page below 1 MiB that starts further CPUs.
 *
 * As in Linux, all RAM of the kernel is mapped at PAGE_OFFSET, its text read-only there and nothing executable; the
 * kernel itself runs where it lies, mapped to itself. RFC v1 makes an exception: the pages of its trampoline are made
 * executable and stay writable (defect 2).
 */

#include "kernel.h"

#define PAGE_OFFSET 0xffff888000000000ul	/* Documentation/arch/x86/x86_64/mm.rst, 4-level page tables */
#define VMALLOC_START 0xffffc90000000000ul
#define LOW_MEMORY_END 0x100000ul
#define LARGE_PAGE (1ul << 21)
#define APIC_BASE 0xfee00000ul

#define _PAGE_PRESENT (1ul << 0)
#define _PAGE_RW (1ul << 1)
#define _PAGE_PSE (1ul << 7)
#define _PAGE_NX (1ul << 63)
#define _KERNPG_TABLE 0x063ul
#define __PAGE_KERNEL (_PAGE_NX | 0x163)
#define __PAGE_KERNEL_RO (_PAGE_NX | 0x161)
#define __PAGE_KERNEL_ROX 0x161ul
#define __PAGE_KERNEL_NOCACHE (_PAGE_NX | 0x17b)
#define ADDRESS 0x000ffffffffff000ul

#define TABLES 48

u64 page_tables[TABLES][512] __attribute__((aligned(4096)));	/* the first is the PML4 */
static u32 tables_used;

struct memblock_region {
	u64 base, size;
} memblock_reserved[8];
u32 memblock_reserved_count;
u64 x86_trampoline_bsp_base;

/* Page tables */

static u64 *lookup_address(u64 linear, u32 level)
{
	u64 *table = page_tables[0];

	for (u32 at = 4; at > level; at--) {
		u64 *entry = table + (linear >> (3 + 9 * at) & 511);

		if (!(*entry & _PAGE_PRESENT)) {
			if (++tables_used == TABLES)
				panic("no page left for page tables");
			memset(page_tables[tables_used], 0, PAGE_SIZE);
			*entry = (u64)page_tables[tables_used] | _KERNPG_TABLE;
		}
		table = (u64 *)(*entry & ADDRESS);
	}
	return table + (linear >> (3 + 9 * level) & 511);
}

static void map_page(u64 linear, u64 phys, u64 protection)
{
	*lookup_address(linear, 1) = phys | protection;
	__asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
}

static int in_text(u64 phys)
{
	return phys >= (u64)_text && phys < (u64)_etext;
}

static void map_direct(u64 start, u64 end)
{
	for (u64 phys = start; phys < end;) {
		u64 next = (phys | (LARGE_PAGE - 1)) + 1;
		int whole = phys % LARGE_PAGE == 0 && next <= end && phys >= LARGE_PAGE;

		if (whole && (next <= (u64)_text || phys >= (u64)_etext)) {
			*lookup_address(PAGE_OFFSET + phys, 2) = phys | _PAGE_PSE | __PAGE_KERNEL;
			phys = next;
			continue;
		}
		map_page(PAGE_OFFSET + phys, phys, in_text(phys) ? __PAGE_KERNEL_RO : __PAGE_KERNEL);
		phys += PAGE_SIZE;
	}
}

void init_mem_mapping(void)
{
	tables_used = 0;
	memblock_reserved_count = 0;
	memset(page_tables[0], 0, PAGE_SIZE);
	for (u64 page = (u64)_text; page < (u64)_end; page += PAGE_SIZE)
		map_page(page, page, in_text(page) ? __PAGE_KERNEL_ROX : __PAGE_KERNEL);
	map_page(APIC_BASE, APIC_BASE, __PAGE_KERNEL_NOCACHE);
	for (u32 i = 0; i < mk_boot_info.nr_ram; i++)
		map_direct(mk_boot_info.ram[2 * i], mk_boot_info.ram[2 * i + 1]);
}

void *__va(u64 phys)
{
	return (void *)(PAGE_OFFSET + phys);
}

static int is_ram(u64 phys, u64 size)
{
	for (u32 i = 0; i < mk_boot_info.nr_ram; i++)
		if (phys >= mk_boot_info.ram[2 * i] && phys + size <= mk_boot_info.ram[2 * i + 1])
			return 1;
	return 0;
}

/* memremap(MEMREMAP_WB) as it is before vmalloc() works: nothing but this kernel's own RAM (defect 35). */
void *memremap(u64 phys, u64 size)
{
	return is_ram(phys, size) ? __va(phys) : (void *)0;
}

/* Any memory at all, another kernel's too: nothing stops a kernel that wants to. */
void *map_by_hand(u64 phys, u64 size)
{
	if (is_ram(phys, size) && !in_text(phys))
		return __va(phys);
	for (u64 page = phys & -PAGE_SIZE; page < phys + size; page += PAGE_SIZE)
		map_page(VMALLOC_START + page, page, __PAGE_KERNEL);
	return (void *)(VMALLOC_START + phys);
}

/* memblock: who has which RAM before there is an allocator */

static void memblock_reserve(u64 base, u64 size)
{
	struct memblock_region *region = &memblock_reserved[memblock_reserved_count++];

	region->base = base;
	region->size = size;
}

/* The highest free pages below limit, or 0. */
u64 memblock_phys_alloc(u64 size, u64 limit)
{
	for (u32 i = mk_boot_info.nr_ram; i-- > 0;) {
		u64 start = mk_boot_info.ram[2 * i], end = mk_boot_info.ram[2 * i + 1];
		u64 base = ((end < limit ? end : limit) - size) & -PAGE_SIZE;

		if (start < PAGE_SIZE)
			start = PAGE_SIZE;			/* never page 0: 0 means none */
		for (u32 j = 0; j < memblock_reserved_count; j++) {
			struct memblock_region *taken = &memblock_reserved[j];

			if (base < taken->base + taken->size && taken->base < base + size) {
				base = (taken->base - size) & -PAGE_SIZE;
				j = (u32)-1;			/* look at all of them again */
			}
		}
		if (base >= start && base + size <= end && base + size <= limit) {
			memblock_reserve(base, size);
			return base;
		}
	}
	return 0;
}

/* RFC v1, patch 2: arch/x86/kernel/head64.c and setup.c */

void setup_trampolines_bsp(void)
{
	u64 size = (u64)(x86_trampoline_bsp_end - x86_trampoline_bsp_start);
	u64 mem;

	memblock_reserve((u64)_text, (u64)(_end - _text));
	/* A spawned kernel takes the host's page, or finds none (defect 11). */
	if (mk_boot_info.flags & MK_NO_TRAMPOLINE)
		return;
	mem = memblock_phys_alloc(size, LOW_MEMORY_END);
	if (!mem)
		panic("Cannot allocate trampoline");
	memblock_reserve(mem, mem + size);		/* the second argument is a size (defect 1) */
	x86_trampoline_bsp_base = mem;
	memcpy(__va(mem), x86_trampoline_bsp_start, size);
}

/* arch/x86/mm/pat/set_memory.c: a page that becomes executable while it may be written is reported, the first time. */
static void verify_rwx(u64 old, u64 new, u64 linear, u64 pfn)
{
	static int reported;

	if (reported || !(new & _PAGE_RW) || new & _PAGE_NX)
		return;
	reported = 1;
	begin_line();
	put("CPA detected W^X violation: ");
	put_hex(old & ~ADDRESS);
	put(" -> ");
	for (u32 shift = 60; !((new & ~ADDRESS) >> shift) && shift; shift -= 4)	/* %016llx */
		put("0");
	put_hex(new & ~ADDRESS);
	put(" range: 0x");
	put_hex(linear);
	put(" - 0x");
	put_hex(linear + PAGE_SIZE - 1);
	put(" PFN ");
	put_hex(pfn);
	end_line();
}

static void set_memory_x(u64 linear, u64 pages)
{
	for (; pages--; linear += PAGE_SIZE) {
		u64 *entry = lookup_address(linear, 1), new = *entry & ~_PAGE_NX;

		verify_rwx(*entry, new, linear, (new & ADDRESS) / PAGE_SIZE);
		*entry = new;
		__asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
	}
}

void configure_trampolines_bsp(void)
{
	u64 size = (u64)(x86_trampoline_bsp_end - x86_trampoline_bsp_start);

	if (x86_trampoline_bsp_base)
		set_memory_x((u64)__va(x86_trampoline_bsp_base), (size + PAGE_SIZE - 1) / PAGE_SIZE);
}
