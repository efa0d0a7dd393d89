/*
 * Enters the handler of an interrupt, as mklab/machine/delivery_long.py does, in the one case that nearly all interrupts
 * of a kernel are: from 64-bit code at CPL 0 to a gate without IST, in the same code segment, where all pages are
 * mapped, and marked accessed and dirty. Of everything else nothing is done here; Python does it then.
 *
 * (SDM vol. 3, "Exception and Interrupt Handling in 64-bit Mode", "4-Level Paging".)
 */
#include <stdint.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define PAGE 4096u

/* Where registers lie behind `base` in a saved context (mklab/machine/context.py tells how that is known). */
enum { RSP = 32, RIP = 128, HFLAGS = 176, CS = 208, SS = 232, GDTR = 376, IDTR = 400, CR0 = 424, CR3 = 448 };
enum { REG_EFLAGS = 25, REG_CR2 = 52, PROT_EXEC = 4 };	/* Unicorn's x86.h and unicorn.h */
enum { CTL_TLB_FLUSH = 11 | 1 << 30 };

#define HF_CPL 3u
#define HF_INHIBIT_IRQ (1u << 3)
#define HF_CS64 (1u << 15)
#define CR0_PG (1ull << 31)
#define CR0_WP (1ull << 16)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)
#define TF (1u << 8)
#define IF (1u << 9)
#define NT (1u << 14)
#define RF (1u << 16)
#define VM (1u << 17)

/* Entries of page tables */
#define PRESENT 1ull
#define WRITABLE 2ull
#define ACCESSED 0x20ull
#define DIRTY 0x40ull
#define LARGE 0x80ull
#define ADDRESS 0x000ffffffffff000ull
#define PAT_OF_LARGE_PAGE 0x1000ull
#define EXECUTE_DISABLE (1ull << 63)

/* Second half of a descriptor */
#define VISIBLE 0xf0ff00u
#define GRANULARITY (1u << 23)
#define KIND 0x60f900u				/* D and L, P, DPL, S, code, accessed */
#define CODE_64 0x209900u

/* Of a gate: present, for CPL 0 or more, and an interrupt or a trap gate */
#define GATE 0x9eu
#define GATE_64 0x8eu
#define TRAP 1u

#define CODE_PAGES (1u << 16)

/* In the guest's memory, or in a context, at any address. */
#define ANYWHERE __attribute__((packed, aligned(1), may_alias))
typedef uint64_t __attribute__((aligned(1), may_alias)) quad;

struct segment {
	uint32_t selector, reserved;
	uint64_t base;
	uint32_t limit, flags;
} ANYWHERE;

struct descriptor {
	uint32_t low, high;
} ANYWHERE;

struct ram {
	uint64_t start, end;
	uint8_t *bytes;
};

struct gate {
	uint16_t low, selector;
	uint8_t ist, kind;
	uint16_t middle;
	uint32_t high, reserved;
} ANYWHERE;

struct delivery {
	/* Set once. */
	void *uc;
	int (*reg_read)(void *, int, void *);
	int (*reg_write)(void *, int, const void *);
	int (*translate)(void *, uint64_t, uint32_t, uint64_t *);
	int (*context_save)(void *, void *);
	int (*context_restore)(void *, void *);
	int (*ctl)(void *, int, ...);
	void *context;				/* scratch */
	uint8_t *base;				/* in it: the general registers and those behind them */
	uint64_t *efer;				/* in it */
	int32_t *old_exception;			/* in it */
	const struct ram *ram;
	int64_t ranges;
	uint64_t reserved;			/* bits of an entry beyond the physical addresses there are */
	/* Answers. */
	uint64_t rip, handler;
	/* At work. */
	uint8_t code_pages[CODE_PAGES / 8];	/* pages, by the hash of their address, that code was translated from */
};

EXPORT const int delivery_size = sizeof(struct delivery);

static quad *register_at(const struct delivery *d, int offset)
{
	return (quad *)(d->base + offset);
}

static const struct segment *segment_at(const struct delivery *d, int offset)
{
	return (const struct segment *)(d->base + offset);
}

static uint8_t *bytes_at(const struct delivery *d, uint64_t paddr, uint64_t size)
{
	for (int64_t i = 0; i < d->ranges; i++)
		if (d->ram[i].start <= paddr && paddr + size <= d->ram[i].end)
			return d->ram[i].bytes + (paddr - d->ram[i].start);
	return 0;
}

static uint64_t page_bit(uint64_t paddr)
{
	return paddr / PAGE % CODE_PAGES;
}

struct uc_tb {
	uint64_t pc;
	uint16_t icount, size;
};

/* The engine has translated a block: remember its pages. */
EXPORT void on_translated(void *uc, const struct uc_tb *block, const struct uc_tb *before, struct delivery *d)
{
	uint64_t last = block->pc + (block->size ? block->size - 1u : 0), cr2 = 0;
	(void)uc, (void)before;
	d->reg_read(d->uc, REG_CR2, &cr2);
	for (uint64_t at = block->pc;; at = last) {
		uint64_t paddr;
		if (d->translate(d->uc, at, PROT_EXEC, &paddr))
			d->reg_write(d->uc, REG_CR2, &cr2);
		else
			d->code_pages[page_bit(paddr) / 8] |= (uint8_t)(1u << page_bit(paddr) % 8);
		if (at / PAGE == last / PAGE)
			return;
	}
}

static int canonical(uint64_t address)
{
	return address >> 47 == 0 || address >> 47 == 0x1ffff;
}

/* Where `size` bytes at a linear address lie, for the supervisor; 0: something is to be done, or is wrong. */
static uint8_t *reach(const struct delivery *d, uint64_t linear, uint64_t size, int write, uint64_t *paddr)
{
	uint64_t table = *register_at(d, CR3) & ADDRESS;
	uint64_t never = d->reserved | (*d->efer & EFER_NXE ? 0 : EXECUTE_DISABLE);
	if (linear % PAGE + size > PAGE)
		return 0;
	for (int shift = 39;; shift -= 9) {
		const quad *at = (const quad *)bytes_at(d, table + (linear >> shift & 511) * 8, 8);
		uint64_t entry = at ? *at : 0, inside = (1ull << shift) - 1;
		int last = shift == 12 || (shift < 39 && entry & LARGE);
		if ((entry & (PRESENT | ACCESSED)) != (PRESENT | ACCESSED) || entry & never)
			return 0;
		if ((shift == 39 && entry & LARGE) || (write && !(entry & WRITABLE) && *register_at(d, CR0) & CR0_WP))
			return 0;
		if (last && ((write && !(entry & DIRTY)) || (shift > 12 && entry & inside & ADDRESS & ~PAT_OF_LARGE_PAGE)))
			return 0;
		table = entry & ADDRESS;
		if (last) {
			*paddr = (table & ~inside) | (linear & inside);
			return bytes_at(d, *paddr, size);
		}
	}
}

/* Whether `selector` is, in the guest's table, the code segment that the CPU is in. */
static int same_code_segment(const struct delivery *d, uint32_t selector)
{
	const struct segment *cs = segment_at(d, CS), *gdtr = segment_at(d, GDTR);
	const struct descriptor *found;
	uint64_t paddr;
	uint32_t limit;
	if (selector < 4 || selector & 4 || (selector | 7) > gdtr->limit)
		return 0;
	found = (const struct descriptor *)reach(d, gdtr->base + (selector & ~7u), 8, 0, &paddr);
	if (!found)
		return 0;
	limit = (found->low & 0xffff) | (found->high & 0xf0000);
	if (found->high & GRANULARITY)
		limit = limit << 12 | 0xfff;
	return (found->high & KIND) == CODE_64 && (found->high & VISIBLE) == (cs->flags & VISIBLE)
		&& (selector & ~3u) == (cs->selector & 0xffff) && limit == cs->limit
		&& (found->low >> 16 | (found->high & 0xff) << 16 | (found->high & 0xff000000)) == cs->base;
}

/* Let the CPU that the emulator holds enter the handler of `vector`. Returns 0 where Python has to; nothing was done. */
EXPORT int deliver(struct delivery *d, uint32_t vector)
{
	const struct gate *found;
	struct gate gate;
	uint64_t flags = 0, bottom, paddr;
	uint32_t hflags;
	quad *frame;

	d->context_save(d->uc, d->context);
	hflags = (uint32_t)*register_at(d, HFLAGS);
	if (hflags & (HF_CPL | HF_INHIBIT_IRQ) || !(hflags & HF_CS64) || !(*d->efer & EFER_LMA))
		return 0;
	if (!(*register_at(d, CR0) & CR0_PG) || vector * 16 + 15 > segment_at(d, IDTR)->limit)
		return 0;
	found = (const struct gate *)reach(d, segment_at(d, IDTR)->base + vector * 16, 16, 0, &paddr);
	if (!found || (found->kind & GATE) != GATE_64 || found->ist & 7 || !same_code_segment(d, found->selector))
		return 0;
	gate = *found;				/* the frame may lie on it */
	d->handler = gate.low | (uint64_t)gate.middle << 16 | (uint64_t)gate.high << 32;
	bottom = (*register_at(d, RSP) & ~15ull) - 40;
	frame = (quad *)reach(d, bottom, 40, 1, &paddr);
	if (!canonical(d->handler) || !canonical(bottom) || !frame)
		return 0;
	if (d->code_pages[page_bit(paddr) / 8] >> page_bit(paddr) % 8 & 1)
		return 0;			/* what was translated from there might have to be dropped */
	d->reg_read(d->uc, REG_EFLAGS, &flags);
	frame[0] = d->rip = *register_at(d, RIP);
	frame[1] = segment_at(d, CS)->selector & 0xffff;
	frame[2] = flags & ~(uint64_t)RF;	/* the engine's own */
	frame[3] = *register_at(d, RSP);
	frame[4] = segment_at(d, SS)->selector & 0xffff;
	flags &= ~(uint64_t)(TF | NT | RF | VM | (gate.kind & TRAP ? 0 : IF));
	*register_at(d, RSP) = bottom;
	*register_at(d, RIP) = d->handler;
	*d->old_exception = -1;
	d->context_restore(d->uc, d->context);
	d->reg_write(d->uc, REG_EFLAGS, &flags);
	d->ctl(d->uc, CTL_TLB_FLUSH);		/* as where Python gives it registers */
	return 1;
}
