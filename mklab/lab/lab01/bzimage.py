"""Exercise 01.4: where the protected-mode code of a bzImage begins, where it is entered, where its payload lies.

The answer's numbers are used: a small image under the real header is loaded by them, and a CPU enters it.
"""

from typing import Any

from mklab.kernel.bootparam import HDR_OFFSET, SetupHeader
from mklab.kernel.host import Host
from mklab.kernel.kexec import KexecSegment
from mklab.kernel.kexec_bzimage64 import ENTRY64_OFFSET, SECTOR, protected_mode_offset
from mklab.kernel.layout import BOOT_PAGE_TABLES
from mklab.lab.checking.answer import Answer, AnswerError
from mklab.lab.defects.stage import booted
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.lab01.debian import DEBIAN
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine

__all__ = ["TRIALS", "bzimage", "small_image"]

_MEMSZ = 0x10000
_LZ4 = bytes.fromhex("02214c18")
_STARTED = 300_000
_OWN_TABLES = b"\xb8" + BOOT_PAGE_TABLES.to_bytes(4, "little") + b"\x0f\x22\xd8"
"""mov $BOOT_PAGE_TABLES, %eax; mov %rax, %cr3."""
_HERE = b"\xeb\xfe"
_Trial = tuple[str, int, int, int]

TRIALS: tuple[_Trial, ...] = (
    ("the Debian kernel's header, at 0x2000000", 0x27, 0x2CC, 0x2000000),
    ("setup_sects 0, at 0x2400000", 0, 0x13B0, 0x2400000),
    ("setup_sects 1, a payload far behind, at 0x3000000", 1, 0x106C4, 0x3000000),
)
"""Each small image: its name, setup_sects, payload_offset, and where it is loaded."""


def small_image(setup_sects: int, payload_offset: int) -> bytes:
    """A bzImage under the Debian kernel's header, whose every sector begins with code that tells its number.

    That code is ``mov $sector, %ebx; 1: jmp 1b``, on page tables that no kick disturbs (defect 6). The payload's first
    bytes are those of the real one, which are LZ4's.
    """
    header = SetupHeader.from_buffer_copy(DEBIAN.read(HDR_OFFSET, 0x7B))
    header.setup_sects, header.payload_offset = setup_sects, payload_offset
    start = protected_mode_offset(header)
    image = bytearray(start + max(payload_offset + 0x1000, 0x2000))
    for sector in range(len(image) // SECTOR):
        sign = _OWN_TABLES + b"\xbb" + sector.to_bytes(4, "little") + _HERE
        image[sector * SECTOR : sector * SECTOR + len(sign)] = sign
    image[HDR_OFFSET : HDR_OFFSET + len(bytes(header))] = bytes(header)
    image[start + payload_offset : start + payload_offset + 4] = _LZ4
    return bytes(image)


def judge(answer: Answer, _seed: int) -> Verdict:
    """Let the student's function dissect each image; load and enter it as it says."""
    host = booted(len(TRIALS) + 1)
    for cpu, trial in enumerate(TRIALS, start=1):
        name, setup_sects, payload_offset, load = trial
        image = small_image(setup_sects, payload_offset)
        where = f"the image with {name}"
        try:
            found = answer.call("dissect", image, load)
        except AnswerError as error:
            if error.kind == "raised" and error.type not in ("SyntaxError", "NameError"):
                return not_yet(f"Your function raised {error.type}: {error}.", where, "Which bytes did it look at?")
            raise
        verdict = _shape(found, where) or _entered(host, cpu, image, load, trial, found, where)
        if verdict is not None:
            return verdict
    return Verdict(
        Outcome.PASSED,
        f"{len(TRIALS)} images were loaded by your numbers, and each time the CPU ran startup_64, 0x200 behind the"
        " beginning of the protected-mode code. Your third number led to the first bytes of the payload.",
        next_step="Compare with `mklab inspect` on a kernel of your own: it shows the same fields.",
    )


def _shape(found: Any, where: str) -> Verdict | None:
    if found is None:
        return not_yet("Your function returned None.", where, "It returns three numbers: code, entry, payload.")
    numbers = isinstance(found, (tuple, list)) and len(found) == 3
    if not numbers or not all(isinstance(one, int) and not isinstance(one, bool) for one in found):
        return not_yet(
            "Your function did not return three numbers.",
            where,
            "Return code, entry, payload: the file offset of the protected-mode code, the address of the 64-bit entry,"
            " the file offset of the payload.",
            expected="three numbers",
            got=str(found)[:100],
        )
    return None


def _entered(host: Host, cpu: int, image: bytes, load: int, trial: _Trial, found: Any, where: str) -> Verdict | None:
    code, entry, payload = found
    if not 0 <= code < len(image):
        return not_yet(
            f"Your protected-mode code begins at offset {code:#x}; the file has {len(image):#x} bytes.",
            where,
            "setup_sects counts sectors of 512 bytes. What did you multiply?",
        )
    if not load <= entry < load + _MEMSZ:
        return not_yet(
            f"Your entry is {entry:#x}; the image was loaded at {load:#x} to {load + _MEMSZ:#x}."
            + (" An address in memory is asked for, not an offset." if entry < load else ""),
            where,
            "The entry lies within the loaded code: load + something.",
        )
    sector = _executed(host, cpu, image[code : code + _MEMSZ], load, entry)
    right = protected_mode_offset(SetupHeader.from_buffer_copy(image, HDR_OFFSET))
    if code != right or entry != load + ENTRY64_OFFSET:
        return not_yet(
            f"{_why(code, right, trial[1], entry - load)} {_ran(sector, right)}",
            where,
            "Take the boot protocol's words one by one: the boot sector, the setup code, the protected-mode code.",
            got=f"code at {code:#x}, entry {entry:#x}",
        )
    if image[payload : payload + 4] != _LZ4:
        shown = image[payload : payload + 4].hex(" ") if 0 <= payload < len(image) else "nothing: the file ends before"
        return not_yet(
            f"{_why_payload(payload, right, trial[2])} At offset {payload:#x} of the file lies {shown}.",
            where,
            "payload_offset has four bytes, and counts from the beginning of the protected-mode code.",
            expected=f"{_LZ4.hex(' ')}, the magic number of LZ4",
            got=shown,
        )
    return None


def _executed(host: Host, cpu: int, code: bytes, load: int, entry: int) -> int | None:
    """The sector of the file whose code a CPU runs that enters the image at ``entry``; None: none of them."""
    machine = host.machine
    host.cpu_down(cpu)
    host.kexec_load(entry, [KexecSegment(code, load, _MEMSZ)])
    host.multikernel_kexec(cpu)
    host.kexec_load(0, [])

    def in_image(one: Machine) -> bool:
        return load <= one.registers(cpu).rip < load + _MEMSZ

    machine.run(_STARTED, in_image)
    machine.run(4_000)
    registers = machine.registers(cpu)
    # At the jump behind the sign: its sector is in EBX.
    at_sign = not machine.stopped and machine.memory.read(registers.rip, 2) == _HERE
    return registers.rbx if at_sign else None


def _ran(sector: int | None, code: int) -> str:
    first = code // SECTOR
    if sector is None:
        return "The CPU that entered it ran into bytes that are no code of this image."
    what = f"sector {sector} of the file"
    if sector == 0:
        what += ", the boot sector"
    elif sector < first:
        what += ", the setup code, which is written for real mode"
    elif sector == first:
        what += ", startup_32, the entry for 32-bit boot loaders"
    return f"The CPU, in 64-bit mode, ran {what}; startup_64 is in sector {first + 1}."


def _why(code: int, right: int, setup_sects: int, entered: int) -> str:
    if setup_sects == 0 and code == SECTOR:
        return "You took setup_sects 0 for none. For the sake of old loaders, 0 means 4."
    if code == right - SECTOR:
        return "You left out the boot sector: it comes before the setup code, and setup_sects does not count it."
    if code != right:
        return f"Your protected-mode code begins at {code:#x}."
    if entered == 0:
        return "You entered the image where it begins: that is the 32-bit entry. The 64-bit entry is 0x200 behind it."
    return f"You entered the image {entered:#x} behind its beginning."


def _why_payload(payload: int, code: int, payload_offset: int) -> str:
    if payload == payload_offset:
        return "You counted payload_offset from the file's beginning; it counts from the protected-mode code's."
    if payload == code + payload_offset % 0x10000:
        return "You read two bytes of payload_offset; the field has four."
    return "Your third number does not lead to the payload."


bzimage = Exercise(
    "01.4",
    "A bzImage dissected",
    "python",
    judge,
    (
        "All you need is in three fields: setup_sects at 0x1F1 (1 byte), payload_offset at 0x248 (4 bytes), and the"
        " boot protocol's offset of the 64-bit entry.",
        "The file is: the boot sector (512 bytes), setup_sects sectors (0 means 4), the protected-mode code. The 64-bit"
        " entry lies 0x200 behind the beginning of that code, wherever it was loaded.",
        "code = ((image[0x1F1] or 4) + 1) * 512; entry = load + 0x200; payload = code + the 4 bytes at 0x248, as a"
        " little-endian number.",
    ),
    (
        Mistake("without the boot sector", (("(setup_sects + 1) * 512", "setup_sects * 512"),), "left out the boot"),
        Mistake("0 taken for none", (("image[0x1F1] or 4", "image[0x1F1]"),), "0 means 4"),
        Mistake("entered where it was loaded", (("load + 0x200", "load"),), "that is the 32-bit entry"),
        Mistake("an offset for an entry", (("load + 0x200", "0x200"),), "An address in memory is asked for"),
        Mistake("the entry in the file", (("load + 0x200", "load + code + 0x200"),), "behind its beginning"),
        Mistake("payload from the file's beginning", (("code + payload_offset", "payload_offset"),), "You counted"),
        Mistake("two bytes of payload_offset", (("0x248:0x24C", "0x248:0x24A"),), "You read two bytes"),
        Mistake("big-endian", (('"little"', '"big"'),), "does not lead to the payload"),
    ),
    alternatives=(
        """
import struct
def dissect(image, load):
    sectors = 1 + (image[0x1F1] if image[0x1F1] else 4)
    return [sectors << 9, load + 512, (sectors << 9) + struct.unpack_from("<I", image, 0x248)[0]]
""",
    ),
)
