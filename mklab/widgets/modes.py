"""In which mode a CPU is, how far it has come from its SIPI to a kernel in 64-bit mode, and what the next mode needs.

SDM volume 3, "Mode Switching", "Initializing IA-32e Mode"; the order of the milestones is that of
``trampoline_64_bsp.S``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mklab.recording import Span

__all__ = ["MODES", "Milestone", "Mode", "Need", "bits_of", "milestones", "mode_of", "needs"]

_PE, _PG, _PAE = 1 << 0, 1 << 31, 1 << 5
_LME, _LMA, _VM = 1 << 8, 1 << 10, 1 << 17
_CS_LONG, _CS_BIG = 1 << 21, 1 << 22
"""L and D where the upper half of a segment descriptor has them."""

MODES = {
    "64-bit": "EFER.LMA and CS.L = 1",
    "compatibility": "EFER.LMA = 1, CS.L = 0",
    "protected": "CR0.PE = 1, EFER.LMA = 0",
    "real": "CR0.PE = 0, after a SIPI",
}
"""The modes, highest first, and what makes each."""


@dataclass(frozen=True)
class Mode:
    """The mode of a CPU.

    Attributes:
        name: one of :data:`MODES`.
        code: how wide its code is: 16, 32 or 64 bits.
        virtual: whether it is virtual-8086 mode, inside protected mode.
    """

    name: str
    code: int
    virtual: bool = False

    @property
    def words(self) -> str:
        """In words."""
        kind = "virtual-8086" if self.virtual else self.name
        return "64-bit mode" if self.code == 64 else f"{kind} mode, {self.code}-bit code"


@dataclass(frozen=True)
class Milestone:
    """A step on the way to a kernel.

    Attributes:
        name: what it is called.
        detail: the bit or register in which it is seen.
        done: whether the CPU has come as far.
        new: whether the last step brought it there.
    """

    name: str
    detail: str
    done: bool
    new: bool = False


@dataclass(frozen=True)
class Need:
    """Something that the next mode needs: in words, and whether it is there."""

    words: str
    done: bool


def mode_of(registers: Mapping[str, int]) -> Mode:
    """The mode that ``registers`` are in."""
    flags = registers["cs.flags"]
    width = 32 if flags & _CS_BIG else 16
    if not registers["cr0"] & _PE:
        return Mode("real", 16)
    if registers["efer"] & _LMA:
        return Mode("64-bit", 64) if flags & _CS_LONG else Mode("compatibility", width)
    virtual = bool(registers["rflags"] & _VM)
    return Mode("protected", 16 if virtual else width, virtual)


def bits_of(registers: Mapping[str, int]) -> dict[str, bool]:
    """The bits that decide on the mode, by name."""
    flags = registers["cs.flags"]
    # In real mode the hidden part of CS has no such bits that count.
    protected = bool(registers["cr0"] & _PE)
    return {
        "CR0.PE": protected,
        "CR4.PAE": bool(registers["cr4"] & _PAE),
        "EFER.LME": bool(registers["efer"] & _LME),
        "CR0.PG": bool(registers["cr0"] & _PG),
        "EFER.LMA": bool(registers["efer"] & _LMA),
        "CS.D": protected and bool(flags & _CS_BIG),
        "CS.L": protected and bool(flags & _CS_LONG),
    }


def milestones(registers: Mapping[str, int], before: Mapping[str, int], span: Span, earlier: Span) -> list[Milestone]:
    """The way from SIPI to a kernel: how far ``registers`` and ``span`` are, how far ``before`` and ``earlier`` were.

    Without ``before`` nothing is new.
    """
    now = _done(registers, span)
    old = _done(before, earlier) if before else now
    return [Milestone(name, detail, done, done and not old[name][1]) for name, (detail, done) in now.items()]


def _done(registers: Mapping[str, int], span: Span) -> dict[str, tuple[str, bool]]:
    bits = bits_of(registers)
    owner = span.owner or "nobody yet"
    started = span.state != "wait-for-SIPI"
    return {
        "real": ("SIPI taken", started),
        "GDT": (f"GDTR {registers['gdtr.base']:#x}", bool(registers["gdtr.base"])),
        "PE": ("CR0.PE", bits["CR0.PE"]),
        "far jump": ("CS.D or L", bits["CS.D"] or bits["CS.L"]),
        "PAE": ("CR4.PAE", bits["CR4.PAE"]),
        "CR3": (f"{registers['cr3']:#x}", bool(registers["cr3"])),
        "LME": ("EFER.LME", bits["EFER.LME"]),
        "PG": ("CR0.PG", bits["CR0.PG"]),
        "long": ("CS.L", bits["CS.L"] and bits["EFER.LMA"]),
        "kernel": (owner, started and span.owner is not None),
    }


def needs(registers: Mapping[str, int], span: Span) -> tuple[str, list[Need]]:
    """The name of what comes next, and what it needs; no needs at the end of the way."""
    if span.state == "wait-for-SIPI":
        return "real mode", [Need("A SIPI: the CPU then starts at its vector times 4 KiB.", False)]
    if span.state == "shut down":
        return "nothing", [Need("Only INIT or a reset takes a CPU out of shutdown.", False)]
    mode, bits = mode_of(registers), bits_of(registers)
    if mode.name == "real":
        return "protected mode", [
            Need("GDTR leads to a table of segments (LGDT)", bool(registers["gdtr.base"])),
            Need("CR0.PE = 1 (LMSW or MOV to CR0)", False),
        ]
    if mode.name == "protected" and mode.code == 16:
        return "32-bit code", [Need("A far jump: it loads CS with a segment whose D bit is 1.", False)]
    if mode.name == "protected":
        return "long mode", [
            Need("CR4.PAE = 1", bits["CR4.PAE"]),
            Need("CR3 holds the address of a PML4", bool(registers["cr3"])),
            Need("EFER.LME = 1 (WRMSR)", bits["EFER.LME"]),
            Need("CR0.PG = 1, the last of the four", bits["CR0.PG"]),
        ]
    if mode.name == "compatibility":
        return "64-bit code", [Need("A far jump or return: it loads CS with a segment whose L bit is 1.", False)]
    if span.owner is None:
        return "a kernel", [Need("A jump into a kernel's memory: from then on the CPU is that kernel's.", False)]
    return f"nothing more, {'the host' if span.owner == 'host' else span.owner} runs here", []
