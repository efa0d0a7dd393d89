"""One experiment with the trampoline, and how the two machines carry it out.

Both machines begin alike: two CPUs, no firmware but ``reset.S``, low memory filled with a pattern, and in it the
trampoline's bytes. So whatever differs from the pattern afterwards is the trampoline's doing.
"""

import functools
import io
import struct
from dataclasses import astuple, dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from mklab import guest
from mklab.guest.build import build
from mklab.machine.registers import GPRS, SEGMENTS
from mklab.structs import Field, Struct
from tests.differential import harness, qemu
from tests.differential.harness import ROM, Setup
from tests.differential.qemu import Segment

__all__ = [
    "BOOT_PARAMS",
    "LOW_MEMORY",
    "TRAMPOLINE",
    "Experiment",
    "Outcome",
    "run_in_qemu",
    "run_on_model",
]

TRAMPOLINE = 0x96000
"""Where Linux puts it on a PC: the top of low memory."""
LOW_MEMORY = 0xA0000
BOOT_PARAMS = 0x123456789ABCDEF0
"""Any number: the trampoline hands it on, and never looks at what it points to."""
PATTERN = b"\xdd"

RECORD_ADDRESS = 0x2100000
MAILBOX = 0x2200000

_HERE = Path(__file__).parent
_SECTIONS = """
PHDRS { payload PT_LOAD; rom PT_LOAD; }  /* one would span what lies between: a file of 4 GiB */
SECTIONS
{
	.payload 0 : { *(.payload) } :payload
	.rom 0xffff0000 : { *(.rom) . = 0xffffffd0; *(.rom.reset) } :rom
	/DISCARD/ : { *(.comment) *(.note*) }
}
"""
_CONTROL = ("rflags", "cr0", "cr2", "cr3", "cr4", "cr8", "efer", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7")
_SELECTORS = ("cs", "ds", "es", "ss", "fs", "gs", "tr", "ldtr")
RECORD = Struct(
    "record",
    *(Field(name, "u64") for name in (*GPRS, *_CONTROL, *_SELECTORS)),
    *(Field(name, "u8", 10) for name in ("gdtr", "idtr")),
    Field("done", "u32"),
    Field("stack", "u64", 8),
    Field("stack_end", "u64"),
)
"""What ``payload.S`` stores; ``gdtr`` and ``idtr`` as SGDT does: 16 bits of limit, 64 of base."""


@dataclass(frozen=True)
class Experiment:
    """A kernel is started at ``entry``; from 4 GiB on, a bank of RAM lies there.

    Attributes:
        entry: physical address of the payload, 2 MiB aligned.
        blob: the trampoline's bytes.
    """

    entry: int
    blob: bytes

    @property
    def low_memory(self) -> bytes:
        """The first 640 KiB: the pattern, and the trampoline in it.

        Its stack and its page tables hold the pattern too: what it needs to be zero it has to clear.
        """
        end = guest.trampoline().symbols["trampoline_location"] + 8
        assert not any(self.blob[end:]), "behind its data the trampoline is all zeros"
        return (PATTERN * TRAMPOLINE + self.blob[:end]).ljust(LOW_MEMORY, PATTERN)

    @property
    def setup(self) -> Setup:
        """The machine that it is carried out on."""
        code = _build()
        contents = {
            0: self.low_memory,
            MAILBOX: struct.pack("<2Q", self.entry, BOOT_PARAMS),
            ROM: code[".rom"],
            self.entry: code[".payload"],
        }
        return Setup(contents, bank=self.entry if self.entry >= 1 << 32 else None)


@functools.cache
def _build() -> dict[str, bytes]:
    """``reset.S`` and ``payload.S`` as machine code, by section; the payload runs wherever it lies."""
    symbols = guest.trampoline().symbols
    values = {
        "mailbox": MAILBOX,
        "trampoline_page": TRAMPOLINE >> 12,
        "kernel_phys_addr": TRAMPOLINE + symbols["kernel_phys_addr"],
        "boot_params_phys_addr": TRAMPOLINE + symbols["boot_params_phys_addr"],
        **{f"record_{name}": RECORD_ADDRESS + offset for name, offset in RECORD.offsets.items()},
    }
    script = "".join(f"{name} = {value:#x};\n" for name, value in values.items()) + _SECTIONS
    sources = {name: (_HERE / name).read_text() for name in ("reset.S", "payload.S")}
    elf = ELFFile(io.BytesIO(build(sources, script, movable=False)))
    return {section.name: section.data() for section in elf.iter_sections() if section.name in (".rom", ".payload")}


@dataclass(frozen=True)
class Outcome:
    """What a machine holds after an experiment.

    Attributes:
        ended: ``done``: the payload ran; ``reset``: a CPU shut down, and the platform was reset.
        low: the first 640 KiB of memory.
        record: what the payload stored, by name; all zero where it was not reached.
        segments: CPU 1's segment registers, hidden parts included, as the emulator tells them.
    """

    ended: str
    low: bytes
    record: dict[str, int]
    segments: dict[str, Segment]


def _fields_of(record: bytes) -> dict[str, int]:
    """The fields of a record; ``gdtr`` and ``idtr`` as one number, the base above 16 bits of limit."""
    return {
        name: int.from_bytes(record[offset:][: RECORD.fields[name].width * RECORD.fields[name].count], "little")
        for name, offset in RECORD.offsets.items()
        if not name.startswith("stack")
    }


def run_on_model(experiment: Experiment) -> Outcome:
    """Carry it out on mklab's machine."""
    ended, machine = harness.run_on_model(experiment.setup)
    registers = machine.registers(1)
    return Outcome(
        ended,
        low=machine.memory.read(0, LOW_MEMORY),
        record=_fields_of(machine.memory.read(RECORD_ADDRESS, RECORD.size)),
        segments={name: astuple(getattr(registers, name)) for name in (*SEGMENTS, "tr", "ldtr")},
    )


def run_in_qemu(binary: Path, experiment: Experiment, folder: Path) -> Outcome:
    """Carry it out in QEMU; ``folder`` takes the files that go in and out."""
    with qemu.finished(binary, experiment.setup, folder) as seen:
        return Outcome(
            seen.ended,
            low=seen.memory(0, LOW_MEMORY),
            record=_fields_of(seen.memory(RECORD_ADDRESS, RECORD.size)),
            segments=seen.segments(1),
        )
