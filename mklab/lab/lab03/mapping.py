"""Memory above 4 GiB: what v1 maps of it (defect 8), and a function that maps what an image needs."""

from mklab.lab import forms
from mklab.lab.checking.answer import Answer, AnswerError, Offer
from mklab.lab.checking.wire import Reference
from mklab.lab.exercise import Exercise, LimitedRoundRobin, Mistake, not_yet
from mklab.lab.forms.assigned import as_python
from mklab.lab.lab03.walk import GuestMemory
from mklab.lab.prediction import Option, Prediction
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.machine.power import entry_registers
from mklab.machine.registers import Segment
from mklab.paging import walk
from mklab.trace import Fault

__all__ = ["crossing", "map_image"]

GIB, MIB, PAGE = 1 << 30, 1 << 20, 2 << 20
_PML4, _PDPT, _SPARE = 0x10000, 0x11000, 0x20000
_LOW = 0x40000
_FLAGS = 0x183

crossing = forms.prediction(
    "03.7",
    "An image across 7 GiB",
    Prediction(
        "An image lies from 7 GiB - 4096 to 7 GiB + 4096 and is entered at its first byte. The trampoline maps the"
        " first"
        " 4 GiB, and, since the entry is above them, the GiB that holds the entry. The first page of the image jumps"
        " into its second page. What happens?",
        (
            Option(
                "It runs: the trampoline has mapped the image.",
                "It would have to know where the image ends. But it gets one number, the entry, and maps the one GiB"
                " around it, from 6 to 7 GiB.",
            ),
            Option(
                "It fails at the entry: nothing above 4 GiB can be reached.",
                "The loop does map the first 4 GiB only. But then comes a second one, for an entry with any bit above"
                " bit 31: one directory page, one GiB.",
            ),
            Option(
                "The first page runs; the jump to 7 GiB is a page fault, and the platform is reset.",
                "The entry's GiB ends at 7 GiB. The entry of the PDPT behind it is 0. And no interrupt table takes the"
                " fault, so it becomes a triple fault.",
                right=True,
            ),
            Option(
                "The first page runs; at 7 GiB the CPU finds zeros and goes on.",
                "So it would be where there is no memory at all. But here the CPU does not get as far as memory: the"
                " translation fails.",
            ),
        ),
    ),
    (
        "Look at startup_64 in the picture: how many entries of the PDPT does it write, and with which index?",
        "One entry of the PDPT spans 1 GiB. The index is entry >> 30.",
        "Entry 7 GiB - 4096: index 6. Which index has 7 GiB?",
    ),
)


class _Trial:
    """A machine with the trampoline's kind of tables, on which a student's function is tried.

    Args:
        start, end: the image's.
    """

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        low, high = start - start % PAGE, end + -end % PAGE
        self.machine = Machine(1, [(0, 4 * MIB), (low, high - low)], on_shutdown="halt")
        poke = self.machine.poke
        poke(_PML4, (_PDPT | 7).to_bytes(8, "little"))
        directories = (0x12000 + 0x1000 * number for number in range(4))
        poke(_PDPT, b"".join((one | 7).to_bytes(8, "little") for one in directories))
        poke(0x12000, b"".join((number * PAGE | _FLAGS).to_bytes(8, "little") for number in range(2048)))
        # As many as are needed, and none to waste.
        needed = (end - 1 >> 30) - max(start >> 30, 4) + 1
        self.spare = [_SPARE + 0x1000 * number for number in range(needed)]

    def run(self) -> Fault | None:
        """Enter the image at its start; it jumps to its last bytes and halts. The first exception."""
        target = self.end - 4096
        jump = b"\xe9" + (target - self.start - 5).to_bytes(4, "little", signed=True)
        self.machine.poke(self.start, jump)
        self.machine.poke(target, b"\xf4")
        registers = entry_registers(self.start, 0x8000, 0, _PML4)
        registers.idtr = Segment(0, 0, 0)
        self.machine.patch_registers(0, registers)
        self.machine.schedule = LimitedRoundRobin(100, self.machine.trace)
        self.machine.run(1000)
        return next(iter(self.machine.trace.of(Fault)), None)

    @property
    def arrived(self) -> bool:
        """Whether it halted in the image's last page."""
        at = self.machine.registers(0).linear_rip
        return self.machine.cpus[0].state is CpuState.HALTED and at == self.end - 4096 + 1


_CASES = (
    ("an image inside one GiB", 5 * GIB + 16 * MIB, 5 * GIB + 48 * MIB),
    ("an image across 7 GiB", 7 * GIB - 4096, 7 * GIB + 4096),
    ("an image that ends at 6 GiB", 6 * GIB - 4 * MIB, 6 * GIB),
    ("an image across 4 GiB", 4 * GIB - 2 * MIB, 4 * GIB + 2 * MIB),
    ("an image below 4 GiB", 1 * GIB, 1 * GIB + 2 * MIB),
)


def _judge(answer: Answer, _seed: int) -> Verdict:
    for name, start, end in _CASES:
        trial = _Trial(start, end)
        memory = trial.machine.memory
        before, low = memory.read(_PDPT, 32), memory.read(0, _LOW)
        where = f'case "{name}": map_image(memory, {_PDPT:#x}, {as_python(trial.spare)}, {start:#x}, {end:#x})'
        offer = Offer(GuestMemory(memory), ("read_u64", "write_u64"))
        try:
            answer.call("map_image", Reference("memory"), _PDPT, trial.spare, start, end, memory=offer)
        except AnswerError as error:
            if memory.read(_PDPT, 32) != before:
                return _overwritten(where)
            if error.type == "IndexError":
                return not_yet(
                    "Your function ran out of spare pages: it takes more than one for each GiB that is not mapped yet.",
                    f"{where}; {error.where(answer.source)}".removesuffix("; "),
                    "From which GiB to which does the image reach? The byte at `end` is no part of it.",
                )
            if error.cause is None:
                raise
            return not_yet(
                f"Your function went to memory where there is none: {error}.",
                f"{where}; {error.where(answer.source)}".removesuffix("; "),
                "The entry for a GiB lies at pdpt + 8 * its number.",
            )
        found = _elsewhere(trial, where, low) or _found(trial, where, before)
        if found is not None:
            return found
    return Verdict(
        Outcome.PASSED,
        f"In {len(_CASES)} cases the CPU ran the image from its first page to its last on your tables.",
        next_step="Defect 8 of the RFC's first version is the loop that is missing there.",
    )


def _elsewhere(trial: _Trial, where: str, before: bytes) -> Verdict | None:
    """The first byte that is changed in low memory, outside the PDPT and the spare pages."""
    after = trial.machine.memory.read(0, len(before))
    allowed = {_PDPT, *trial.spare}
    for page in range(0, len(before), 4096):
        if page in allowed or after[page : page + 4096] == before[page : page + 4096]:
            continue
        at = next(at for at in range(page, page + 4096) if after[at] != before[at])
        return not_yet(
            f"Your function has stored at {at:#x}, which is neither in the PDPT nor in a spare page.",
            where,
            "A table has 512 entries, 0 to 511, of 8 bytes. Where does your last store go?",
        )
    return None


def _overwritten(where: str) -> Verdict:
    return not_yet(
        "Your function has written over the entries of the first 4 GiB, which were mapped already.",
        f"{where}; the PDPT at {_PDPT:#x}",
        "Leave an entry that is present as it is: the CPU is running on it.",
    )


def _found(trial: _Trial, where: str, before: bytes) -> Verdict | None:
    memory = trial.machine.memory
    if memory.read(_PDPT, 32) != before:
        return _overwritten(where)
    wrong = _wrong_entry(trial, where)
    fault = trial.run()
    if fault is not None or not trial.arrived:
        at = f" at {fault.cr2:#x}" if fault is not None and fault.vector == 14 else ""
        kind = f"page fault{at}" if fault is not None and fault.vector == 14 else "it did not come to the end"
        if wrong is not None:
            return wrong
        return not_yet(
            f"The CPU ran on your tables and did not come to the image's last page: {kind}. Nobody takes the fault, and"
            " the CPU shuts down.",
            f"{where}; the PDPT at {_PDPT:#x}",
            "For every GiB that the image touches there must be an entry in the PDPT, and behind it 512 entries.",
        )
    return wrong


def _wrong_entry(trial: _Trial, where: str) -> Verdict | None:
    """The first page of the image that does not lie where it should."""
    registers = entry_registers(trial.start, 0x8000, 0, _PML4)
    for vaddr in range(trial.start & -PAGE, trial.end, PAGE):
        walked = walk(trial.machine.memory, registers, vaddr)
        level, at, entry = walked.entries[-1]
        if walked.paddr == vaddr and walked.writable:
            continue
        if walked.reserved:
            said = f"the entry of the {level} at {at:#x} is {entry:#x}, with bits set that must be 0"
        elif walked.paddr is None:
            said = f"the entry of the {level} at {at:#x} is {entry:#x}"
        elif walked.paddr != vaddr:
            said = f"it leads to {walked.paddr:#x}"
        else:
            said = "it is read-only"
        return not_yet(
            f"The address {vaddr:#x} belongs to the image, and is not mapped to itself: {said}.",
            where,
            "A directory's entry number n, in the GiB number g, is g << 30 | n << 21 | 0x183; it takes 512 of them,"
            " 8 bytes"
            " each, and the PDPT's entry is the directory's address | 7.",
            expected=f"{vaddr:#x} -> {vaddr:#x}",
            got=f"{vaddr:#x} -> {'nothing' if walked.paddr is None else hex(walked.paddr)}",
        )
    return None


map_image = Exercise(
    "03.8",
    "The loop that is missing",
    "python",
    _judge,
    (
        "Which GiB does the image touch? Number them from 0; the byte at end is no part of it.",
        "For each of them: where the PDPT has an entry with P already, nothing is to be done. Else take a spare"
        " page, fill"
        " its 512 entries, then store its address | 7 in the PDPT.",
        "for gib in range(start >> 30, (end - 1 >> 30) + 1): look at pdpt + 8 * gib; a loop over 512 entries; one"
        " store.",
    ),
    (
        Mistake(
            "the first GiB only",
            (("(end - 1 >> 30) + 1", "(start >> 30) + 1"),),
            "belongs to the image, and is not mapped",
        ),
        Mistake("the byte at end counts", (("end - 1 >> 30", "end >> 30"),), "ran out of spare pages"),
        Mistake(
            "entries are written over",
            (("        if memory.read_u64(pdpt + 8 * gib) & 1:\n            continue\n", ""),),
            "written over the entries of the first 4 GiB",
        ),
        Mistake(
            "the image's own start", (("gib << 30 | number << 21", "start | number << 21"),), "is not mapped to itself"
        ),
        Mistake("no PS", (("0x183", "0x103"),), "is not mapped to itself"),
        Mistake("513 entries", (("range(512)", "range(513)"),), "neither in the PDPT nor in a spare page"),
        Mistake("511 entries", (("range(512)", "range(511)"),), "is not mapped to itself"),
        Mistake(
            "the directory is not named",
            (("\n        memory.write_u64(pdpt + 8 * gib, directory | 7)", ""),),
            "is not mapped to itself",
        ),
        Mistake("the directory without flags", (("directory | 7", "directory"),), "is not mapped to itself"),
        Mistake(
            "entries of four bytes", (("directory + 8 * number", "directory + 4 * number"),), "must be a multiple of 8"
        ),
        Mistake("one page for all", (("spare.pop(0)", "spare[0]"),), "is not mapped to itself"),
    ),
    alternatives=(
        "def map_image(memory, pdpt, spare, start, end):\n"
        "    for page in range(start >> 21 << 21, end, 1 << 21):\n"
        "        slot = pdpt + (page >> 30) * 8\n"
        "        if memory.read_u64(slot) == 0:\n"
        "            memory.write_u64(slot, spare.pop() | 3)\n"
        "        directory = memory.read_u64(slot) & ~0xFFF\n"
        "        memory.write_u64(directory + (page >> 21) % 512 * 8, page | 0x183)\n",
    ),
)
