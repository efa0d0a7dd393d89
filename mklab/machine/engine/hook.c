/*
 * Runs Unicorn for an exact number of instructions, at nearly its full speed.
 *
 * Unicorn calls a block hook from within each translated block (TB), before the block's first instruction. The hook's
 * own return address lies in that block, and the block's description (QEMU's struct TranslationBlock) lies directly
 * before its code: so the hook knows exactly which block it is, and how many instructions it holds, whatever the mode
 * and the address space. It lets the block run if the budget holds all of it. What is left at the end, less than a
 * block, runs with the trap flag set: such a translation holds one instruction and is kept apart from the others.
 *
 * A block may be left early: by a fault, by a store into the block itself (the engine then begins that instruction
 * anew, alone), or by an access to a device that must not happen yet. How many of its instructions had begun follows
 * from the search data that QEMU stores behind the code: the address of each instruction.
 *
 * An instruction counts when it begins; so does each iteration of REP, with the last look at RCX.
 *
 * Where one slice follows another and nothing can come between them, the machine asks for several in a row: of each it
 * gets the registers at the end, as it would have read them itself.
 */
#include <stdint.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#ifdef _WIN32
#define EXPORT __declspec(dllexport)
int DllMainCRTStartup(void *module, unsigned reason, void *reserved)	/* no C library gives one */
{
	(void)module, (void)reason, (void)reserved;
	return 1;
}
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* The beginning of struct TranslationBlock (qemu/include/exec/exec-all.h, Unicorn 2.1.4). */
struct tb {
	uint64_t pc, cs_base;		/* linear address; base of CS where that is not in the addresses */
	uint32_t flags;			/* hflags, and some of EFLAGS */
	uint16_t size, icount;		/* bytes, instructions */
	uint32_t cflags, dstate;
	uint8_t *code;
	uintptr_t code_size;
};
#define CF_COUNT_MASK 0x7fff	/* of cflags: 1 for an instruction that is begun anew, alone; else 0 */
#define LINE 64			/* a struct tb begins on a cache line */
#define FARTHEST 1024		/* bytes between the struct and the call in its code */

#define TF (1u << 8)
#define IF (1u << 9)
#define RF (1u << 16)
#define VM (1u << 17)
#define HF_CPL 3u
#define HF_INHIBIT_IRQ (1u << 3)
#define HF_PE (1u << 7)
#define HF_IOPL_SHIFT 12
#define HF_LMA (1u << 14)
#define HF_CS64 (1u << 15)

/* Unicorn's names for registers, errors and kinds of access (x86.h, unicorn.h). */
enum { REG_RIP = 41, REG_EFLAGS = 25, REG_CR2 = 52, REG_DR6 = 72 };
enum { ERR_FETCH_UNMAPPED = 8, ERR_INSN_INVALID = 10, ERR_FETCH_PROT = 14, PROT_EXEC = 4, MEM_WRITE_PROT = 22 };
enum { DEBUG = 1, PAGE_FAULT = 14 };
#define EOI 0xb0			/* in the page of the local APIC */

/* Why run() returns; the same numbers are in native.py. 0: HLT, or an error of the engine's. */
enum why { BUDGET = 1, ASKED, WATCH, INTERCEPT, EXCEPTION, BREATHE, FULL, LOST, /* not seen outside: */ PART, WRITE, AGAIN, ALONE, CLEAR };

/* What an instruction asks for. */
enum class {
	STOPS = 1,		/* the machine executes it */
	STOPS_IRET = 2,		/* the machine may want to see it */
	STOPS_PORT = 4,		/* the machine checks whether it is permitted */
	STANDS_ALONE = 8,	/* something may have to come directly after it */
	SHOWS_TF = 16,		/* it sees the trap flag, or the steps in DR6 */
	LEAVES_STEPS = 32,	/* it changes the trap flag, or goes another way because of it; it ends its block */
};

#define FLUSH_TLB (11 | 1 << 30)	/* UC_CTL_TLB_FLUSH, a write without arguments */
#define REGISTERS 58		/* 64-bit words from RAX to CR4 */

/* A CPU at the end of a slice. */
struct end {
	uint64_t registers[REGISTERS], efer, rflags;
};

#define BREAKPOINTS 16
#define MARKS 8192
#define HINTS 8192

struct state {
	/* Set once. */
	void *uc;
	int (*start)(void *, uint64_t, uint64_t, uint64_t, uintptr_t);
	int (*stop)(void *);
	int (*reg_read)(void *, int, void *);
	int (*reg_write)(void *, int, const void *);
	int (*vmem_read)(void *, uint64_t, uint32_t, void *, uintptr_t);
	int (*context_save)(void *, void *);
	int (*context_restore)(void *, void *);
	void *context;			/* scratch */
	uint32_t *hflags;		/* in it */
	int32_t *old_exception;		/* in it */
	int32_t *by_int;		/* in it: whether INT raised the last exception */
	uint64_t *general;		/* in it: the registers from RAX to CR4 */
	uint64_t *efer;			/* in it */
	int (*control)(void *, int, ...);
	const uint64_t *visible;	/* which of their bits a program could see */
	struct end *ends;		/* of slices */
	uint64_t apic;			/* page whose reads change nothing */
	/* Asked by the machine. */
	int64_t left;			/* instructions still allowed */
	uint64_t rip;
	int32_t asked;			/* stop before the next instruction */
	int32_t pass;			/* the next instruction is not to be intercepted */
	int32_t stop_iret;
	int32_t watch_place;		/* stop where page or mode differ from the two below */
	uint64_t page;
	uint32_t mode;
	int32_t watch_interrupt;	/* 1: stop behind a shadow; 2: and with IF set */
	int32_t eoi_passes;		/* nothing follows from an EOI but what its callback does */
	int32_t translations;		/* so many, then return to breathe */
	int64_t slice;			/* instructions of one */
	int32_t more;			/* slices that may follow the one that run() begins or goes on with */
	/* Answers. */
	int32_t over;			/* slices that are over, and followed by another */
	int32_t why;
	int32_t vector;
	uint64_t address;		/* linear, of the next instruction or of the last one begun */
	int32_t breaks;			/* so many linear addresses before whose instructions to stop */
	uint64_t breakpoints[BREAKPOINTS];
	/* At work. */
	int32_t attention;		/* nonzero: something below or above is set */
	const struct tb *tb;		/* the block that runs or ran last */
	uint64_t tb_pc;
	uint64_t back;			/* from the line of the call back to the struct */
	int32_t fresh;			/* a block was translated and has not been looked at */
	int32_t step;			/* running under TF */
	int32_t fetch;			/* the exception is a fetch's: no instruction has begun */
	int64_t limit;			/* of the next block; 0: none */
	int64_t part;			/* instructions to execute under TF */
	int64_t marked;
	uint8_t hints[HINTS];		/* 1 for the hash of each mark */
	uint64_t marks[MARKS];		/* blocks to consider: 2 * address + TF; 0 empty */
	uint8_t code[4096 + 16];
};

EXPORT const int state_size = sizeof(struct state);

static uint64_t read_register(struct state *s, int name)
{
	uint64_t value = 0;
	s->reg_read(s->uc, name, &value);
	return value;
}

static void leave(struct state *s, enum why why)
{
	s->why = why;
	s->stop(s->uc);
}

/* Translated blocks */

static int is_block(const struct tb *t, uint64_t ret, uint64_t pc, uint32_t size)
{
	return t->pc == pc && t->size == size && ret - (uint64_t)(uintptr_t)t->code < t->code_size;
}

static inline const struct tb *block_before(const struct state *s, uint64_t ret)
{
	return (const struct tb *)(uintptr_t)((ret & -(uint64_t)LINE) - s->back);
}

static const struct tb *search(struct state *s, uint64_t ret, uint64_t pc, uint32_t size)
{
	for (uint64_t back = LINE; back <= FARTHEST; back += 16) {
		const struct tb *t;
		s->back = back;
		t = block_before(s, ret);
		if (is_block(t, ret, pc, size))
			return t;
	}
	return 0;
}

static int64_t sleb128(const uint8_t **at)
{
	int64_t value = 0;
	int shift = 0;
	uint8_t byte;
	do {
		byte = *(*at)++;
		value |= (int64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return shift < 64 && byte & 0x40 ? value | -((int64_t)1 << shift) : value;
}

/* The address of the next instruction of a block; `search` begins behind its code. Each row: address, flags' state and
 * end of the host code, as differences. */
static uint64_t next_instruction(const uint8_t **search, uint64_t before)
{
	before += sleb128(search);
	sleb128(search);
	sleb128(search);
	return before;
}

static int inside(const struct state *s, uint64_t linear)
{
	return s->tb && s->tb->pc == s->tb_pc && linear - s->tb_pc < s->tb->size;
}

/* How many instructions of the running block lie before the one at `linear`; -1: none begins there. */
static int64_t index_of(const struct state *s, uint64_t linear)
{
	const uint8_t *search = s->tb->code + s->tb->code_size;
	uint64_t at = s->tb->pc;
	for (int i = 0; i < s->tb->icount; i++) {
		at = next_instruction(&search, at);
		if (at == linear)
			return i;
	}
	return -1;
}

/* Where the instruction of the running block begins that ends at `end`; the last one where none does. */
static uint64_t instruction_before(const struct state *s, uint64_t end)
{
	uint64_t at = s->tb_pc, before = at;
	if (s->tb && s->tb->pc == at) {
		const uint8_t *search = s->tb->code + s->tb->code_size;
		for (int i = 0; i < s->tb->icount; i++) {
			at = next_instruction(&search, at);
			if (at == end && i)
				break;
			before = at;
		}
	}
	return before;
}

static uint64_t linear_rip(struct state *s)
{
	return read_register(s, REG_RIP) + (s->tb ? s->tb->cs_base : 0);
}

/* The block was left at `linear`: take back what had been counted for it, but `begun` instructions from there on. */
static void uncount(struct state *s, uint64_t linear, int begun)
{
	int64_t index = index_of(s, linear);
	if (index < 0)
		leave(s, LOST);
	else
		s->left += s->tb->icount - index - begun;
}

/* Instructions that need something */

/* Blocks under TF are others than those at the same address without. */
static uint64_t key_of(const struct tb *t)
{
	return t->pc << 1 | !!(t->flags & TF);
}

/* Whether a block at `pc` may be marked. */
static uint8_t *hint(struct state *s, uint64_t pc)
{
	return &s->hints[pc % HINTS];
}

static uint64_t *find_mark(struct state *s, uint64_t key)
{
	uint64_t i = (key * 0x9E3779B97F4A7C15u >> 32) % MARKS;
	while (s->marks[i] && s->marks[i] != key)
		i = (i + 1) % MARKS;
	return &s->marks[i];
}

static void mark(struct state *s, const struct tb *t)
{
	uint64_t *place = find_mark(s, key_of(t));
	s->marked += !*place;
	*place = key_of(t);
	*hint(s, t->pc) = 1;
}

static int classify(const uint8_t *code, uint32_t flags)
{
	int repeated = 0, rex = 0, i = 0;
	int closed = flags & VM || (flags & HF_PE && (flags & HF_CPL) > (flags >> HF_IOPL_SHIFT & 3));
	int port = closed ? STOPS_PORT : 0;
	for (; i < 14; i++) {
		uint8_t byte = code[i];
		if (byte == 0xf2 || byte == 0xf3)
			repeated = LEAVES_STEPS;
		else if (flags & HF_CS64 && (byte & 0xf0) == 0x40) {
			rex = byte;
			continue;
		} else if (byte != 0x26 && byte != 0x2e && byte != 0x36 && byte != 0x3e && (byte < 0x64 || byte > 0x67))
			break;
		rex = 0;
	}
	code += i;
	switch (code[0]) {
	case 0x9c:				/* PUSHF */
		return SHOWS_TF;
	case 0x9d:				/* POPF */
		return LEAVES_STEPS;
	case 0xcf:				/* IRET */
		return STOPS_IRET | LEAVES_STEPS;
	case 0xf1:				/* ICEBP */
		return STOPS;
	case 0xa4: case 0xa5: case 0xa6: case 0xa7: case 0xaa: case 0xab: case 0xac: case 0xad: case 0xae: case 0xaf:
		return repeated;
	case 0x6c: case 0x6d:			/* INS */
		return port | repeated;
	case 0x6e: case 0x6f:			/* OUTS */
		return port | repeated | STANDS_ALONE;
	case 0xe4: case 0xe5: case 0xec: case 0xed:
		return port;
	case 0xe6: case 0xe7: case 0xee: case 0xef:
		return port | STANDS_ALONE;
	case 0x0f:
		break;
	default:
		return 0;
	}
	switch (code[1]) {
	case 0x05: case 0x07: case 0x30: case 0x32: case 0x34: case 0x35:
		return STOPS;			/* SYSCALL, SYSRET, WRMSR, RDMSR, SYSENTER, SYSEXIT */
	case 0x20: case 0x22: {			/* MOV from and to CR0, CR8 */
		int control = (code[2] >> 3 & 7) | (rex & 4) << 1;
		return control == 8 || (control == 0 && code[1] == 0x22) ? STOPS : 0;
	}
	case 0x21:				/* MOV from and to debug registers */
		return SHOWS_TF;
	case 0x23:
		return LEAVES_STEPS;
	}
	return 0;
}

static int is_breakpoint(const struct state *s, uint64_t at)
{
	for (int i = 0; i < s->breaks; i++)
		if (s->breakpoints[i] == at)
			return STOPS;
	return 0;
}

/* Of the block `t`, the index of the first instruction with one of the classes `wanted`, and its classes in `found`; the
 * number of instructions where there is none. */
static int look(struct state *s, const struct tb *t, int wanted, int *found)
{
	const uint8_t *search = t->code + t->code_size;
	uint64_t at = t->pc;
	uint32_t size = t->size < 4096 ? t->size : 4096;
	*found = 0;
	for (int i = 0; i < 16; i++)
		s->code[size + i] = 0x90;
	if (s->vmem_read(s->uc, t->pc, PROT_EXEC, s->code, size)) {
		*found = wanted & STOPS;	/* nobody knows what it is: one at a time */
		return 0;
	}
	for (int i = 0; i < t->icount; i++) {
		at = next_instruction(&search, at);
		if (at - t->pc >= size)
			break;
		*found = (classify(s->code + (at - t->pc), t->flags) | is_breakpoint(s, at)) & wanted;
		if (*found)
			return i;
	}
	return t->icount;
}

static int wanted_of(const struct state *s)
{
	return STOPS | STOPS_PORT | STANDS_ALONE | (s->stop_iret ? STOPS_IRET : 0);
}

static void inspect(struct state *s, const struct tb *t)
{
	int found, all = STOPS | STOPS_IRET | STOPS_PORT | STANDS_ALONE;
	s->fresh = 0;
	look(s, t, s->step ? all | SHOWS_TF | LEAVES_STEPS : all, &found);
	if (found || t->flags & RF)
		mark(s, t);
}

/* The hooks */

static void attend(struct state *s)
{
	s->attention = s->fresh || s->asked || s->step || s->watch_place || s->watch_interrupt || s->limit || s->pass;
}

/* What the machine watches for: why to stop before this block, or 0. */
static enum why watch(struct state *s, const struct tb *t)
{
	if (s->watch_place && (t->pc >> 12 != s->page || (t->flags & (HF_PE | HF_LMA)) != s->mode)) {
		s->page = t->pc >> 12;
		s->mode = t->flags & (HF_PE | HF_LMA);
		return WATCH;
	}
	if (!s->watch_interrupt || t->flags & HF_INHIBIT_IRQ)
		return 0;
	return s->watch_interrupt == 1 || read_register(s, REG_EFLAGS) & IF ? ASKED : 0;
}

static void run_block(struct state *s, const struct tb *t)
{
	s->left -= t->icount;
	s->tb = t;
	s->tb_pc = t->pc;
}

/* A block of one instruction under TF. */
static void step_block(struct state *s, const struct tb *t)
{
	int found = 0;
	if (*find_mark(s, key_of(t)))
		look(s, t, (s->pass ? 0 : wanted_of(s) & ~STANDS_ALONE) | SHOWS_TF | LEAVES_STEPS, &found);
	if (!(t->flags & TF) || !s->part || found & ~SHOWS_TF)
		leave(s, AGAIN);
	else if (found)
		leave(s, ALONE);
	else {
		s->part--;
		s->limit = s->pass = 0;
		run_block(s, t);
	}
}

static void consider(struct state *s, const struct tb *t)
{
	int64_t limit = s->left;
	if (t->cflags & CF_COUNT_MASK) {
		/* The instruction is begun anew. It must not be stopped: it would only begin once more. */
		mark(s, t);
		if (inside(s, t->pc))
			uncount(s, t->pc, 0);
		run_block(s, t);
		return;
	}
	if (s->fresh) {
		inspect(s, t);
		s->translations--;
	}
	s->address = t->pc;
	if (s->asked) {
		leave(s, ASKED);
		return;
	}
	if (t->flags & RF) {
		/* The engine clears it behind a block, hardware behind an instruction; PUSHF never shows it. */
		leave(s, CLEAR);
		return;
	}
	if (s->step) {
		step_block(s, t);
		return;
	}
	if (s->left && !s->pass) {
		enum why why = watch(s, t);
		if (why) {
			leave(s, why);
			return;
		}
	}
	if (s->marked > MARKS / 2 || s->translations < 0) {
		leave(s, s->translations < 0 ? BREATHE : FULL);
		return;
	}
	if (s->limit && s->limit < limit)
		limit = s->limit;
	if (s->watch_place && (t->pc ^ (t->pc + t->size - 1)) >> 12 && limit)
		limit = 1;	/* each page is to be seen */
	if (s->left && *find_mark(s, key_of(t))) {
		int found, index = look(s, t, wanted_of(s), &found);
		if (found && !index) {
			if (found & ~STANDS_ALONE && !s->pass) {
				leave(s, INTERCEPT);
				return;
			}
			index = 1;
		}
		if (index < limit)
			limit = index;
	}
	if (limit < t->icount) {
		s->part = limit;
		leave(s, PART);
		return;
	}
	s->limit = s->pass = 0;
	attend(s);
	run_block(s, t);
}

/* Apart, so that the hook itself saves no registers. */
static __attribute__((noinline)) void find_and_consider(void *uc, uint64_t pc, uint32_t size, struct state *s, uint64_t ret)
{
	const struct tb *t = block_before(s, ret);
	(void)uc;
	if (t->pc != pc || t->size != size)
		t = search(s, ret, pc, size);
	if (t)
		consider(s, t);
	else
		leave(s, LOST);
}

EXPORT void on_block(void *uc, uint64_t pc, uint32_t size, struct state *s)
{
	uint64_t ret = (uint64_t)(uintptr_t)__builtin_return_address(0);
	const struct tb *t = block_before(s, ret);
	/* A block that is begun anew, or that was translated for RF, is marked. */
	if (LIKELY(t->pc == pc && t->size == (uint16_t)size && !(s->attention | *hint(s, pc)) && s->left >= t->icount))
		run_block(s, t);
	else
		find_and_consider(uc, pc, size, s, ret);
}

EXPORT void on_edge(void *uc, void *block, void *before, struct state *s)
{
	(void)uc, (void)block, (void)before;
	s->fresh = s->attention = 1;
}

EXPORT void on_interrupt(void *uc, uint32_t vector, struct state *s)
{
	uint64_t linear;
	(void)uc;
	if (s->step && vector == DEBUG) {	/* a step is done */
		s->tb = 0;
		if (s->asked)
			leave(s, ASKED);
		else if (!s->part)
			leave(s, AGAIN);
		return;
	}
	linear = linear_rip(s);
	s->vector = (int32_t)vector;
	leave(s, EXCEPTION);
	s->context_save(s->uc, s->context);
	if (*s->by_int) {
		/* A trap: RIP is behind the instruction. Most end their block, INTO does not. */
		s->address = instruction_before(s, linear);
		if (inside(s, linear) && linear != s->address)
			uncount(s, linear, 0);
	} else if (inside(s, linear)) {
		s->address = linear;
		uncount(s, linear, 1);
	} else {
		s->fetch = vector == PAGE_FAULT;
	}
}

/* An access to a page without permissions: a device's. Its callback comes next, unless the access must wait. RIP stands
 * on the instruction now. */
EXPORT int on_device(void *uc, uint32_t kind, uint64_t paddr, int size, int64_t value, struct state *s)
{
	(void)uc, (void)value;
	if (s->tb && s->tb->icount == 1)
		return 1;
	if (kind == MEM_WRITE_PROT ? s->eoi_passes && paddr == s->apic + EOI && size == 4 : paddr >> 12 == s->apic >> 12)
		return 1;
	/* What follows from it comes before the next instruction: let this one run alone. */
	leave(s, WRITE);
	return 0;
}

/* Instructions of this run() that will not have begun when the running one has: for a callback. */
EXPORT int64_t left_now(struct state *s)
{
	uint64_t linear = linear_rip(s);
	int64_t index = inside(s, linear) ? index_of(s, linear) : -1;
	return index < 0 ? s->left : s->left + s->tb->icount - index - 1;
}

EXPORT void forget_marks(struct state *s)
{
	for (int i = 0; i < MARKS; i++)
		s->marks[i] = 0;
	for (int i = 0; i < HINTS; i++)
		s->hints[i] = 0;
	s->marked = 0;
}

/* Running */

static void write_flags(struct state *s, uint32_t clear, uint32_t set)
{
	uint64_t flags = (read_register(s, REG_EFLAGS) & ~(uint64_t)clear) | set;
	s->reg_write(s->uc, REG_EFLAGS, &flags);
}

static int go(struct state *s)
{
	int error;
	attend(s);
	s->why = 0;
	error = s->start(s->uc, s->rip, 0, 0, 0);
	s->rip = read_register(s, REG_RIP);
	return error;
}

/* Up to `part` instructions, one at a time. */
static int steps(struct state *s)
{
	uint64_t dr6 = read_register(s, REG_DR6);
	int error;
	write_flags(s, 0, TF);
	s->step = 1;
	s->tb = 0;
	error = go(s);
	s->step = 0;
	write_flags(s, TF, 0);
	s->reg_write(s->uc, REG_DR6, &dr6);
	return error;
}

/* The next instruction will be translated alone, as after STI: for those that would see TF. */
static void inhibit(struct state *s)
{
	s->context_save(s->uc, s->context);
	*s->hflags |= HF_INHIBIT_IRQ;
	s->context_restore(s->uc, s->context);
}

static void forget_exception(struct state *s, uint64_t cr2)
{
	s->context_save(s->uc, s->context);
	*s->old_exception = -1;
	s->context_restore(s->uc, s->context);
	s->reg_write(s->uc, REG_CR2, &cr2);
}

/* Until the budget is used or the machine is needed. Returns Unicorn's error, and `why` below it. */
static int run_slice(struct state *s, int64_t left)
{
	uint64_t cr2 = read_register(s, REG_CR2);
	int error, stepping = 0;
	s->rip = read_register(s, REG_RIP);
	s->left = left;
	s->tb = 0;
	s->limit = 0;
	do {
		s->fetch = 0;
		error = stepping ? steps(s) : go(s);
		if (error == ERR_FETCH_UNMAPPED || error == ERR_FETCH_PROT)
			s->fetch = 1;
		if (s->fetch && (!s->left || !stepping)) {
			/* The engine translates ahead. At the end of the budget that was too far; else go there. */
			forget_exception(s, cr2);
			error = 0;
			s->part = s->left < 512 ? s->left : 512;
			s->why = PART;
		}
		stepping = s->why == PART;
		if (s->why == ALONE)
			inhibit(s);
		if (s->why == CLEAR)
			write_flags(s, RF, 0);
		if (s->why == WRITE) {
			error = 0;
			s->limit = 1;
			uncount(s, linear_rip(s), 0);
		}
		if ((s->why == PART && !s->part) || (s->why == AGAIN && !s->left))
			s->why = BUDGET;
	} while (s->why >= PART);
	if (s->fetch && s->why == EXCEPTION)
		s->left--;	/* it takes time, too, or a handler that cannot be fetched would stop the clock */
	if (error == ERR_INSN_INVALID && inside(s, linear_rip(s)))
		uncount(s, linear_rip(s), 1);
	return error << 8 | s->why;
}

/* Note the registers as a program could see them. */
EXPORT void note_end(struct state *s, struct end *end)
{
	s->context_save(s->uc, s->context);
	for (int i = 0; i < REGISTERS; i++)
		end->registers[i] = s->general[i] & s->visible[i];
	end->efer = *s->efer;
	end->rflags = read_register(s, REG_EFLAGS) & ~(uint64_t)RF;
}

/* Let the CPU run as run_slice() does, on through the slices that may follow. */
EXPORT int run(struct state *s, int64_t left)
{
	int result;
	while ((result = run_slice(s, left)) == BUDGET && s->more && !s->asked) {
		note_end(s, &s->ends[s->over]);
		s->over++;
		s->more--;
		/* As the machine does where it begins a turn. */
		s->control(s->uc, FLUSH_TLB);
		left = s->slice;
	}
	return result;
}
