"""What a Linux with RFC v1 did (rfc-observed.json), and how to do the same here.

What a test expects it takes out of the JSON, with the addresses below translated; everything else must be equal as it
stands there.

========================  ==========  ===========  ==================================================================
what                      there       here         why
========================  ==========  ===========  ==================================================================
message area              0x1fea3000  0x1ffa000    the top of the host's RAM, 512 MiB there, 32 MiB here
memory for payloads       0x10000000  0x10000000   the same: their memmap=64M$256M
boot_params               0x13b50     0x13000      a boot loader's choice
buffer of a segment       0x114d000   0            user space's choice; here it has no addresses
plain RAM                 0x8000000   0x1b00000    memory that the host's page allocator hands out
========================  ==========  ===========  ==================================================================
"""

import errno
import functools
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.errors import KexecError
from mklab.guest.build import build
from mklab.kernel.host import Host
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KexecSegment
from mklab.kernel.layout import BOOT_PARAMS, FREE_PAGES, SHARED_MEMORY
from mklab.machine.machine import Machine
from mklab.trace import Printk

__all__ = [
    "BASE",
    "DATA",
    "OBSERVED",
    "PAGE",
    "PLAIN_RAM",
    "RAM",
    "SPARSE_RAM",
    "action",
    "boot",
    "console",
    "counted",
    "kick",
    "load",
    "observed",
    "outcome",
    "payload",
    "printed",
    "result",
    "said",
    "tables",
    "text",
]

_RECORDS: list[dict[str, str]] = json.loads((Path(__file__).parent / "rfc-observed.json").read_text())
OBSERVED = {record["id"]: record["observed"] for record in _RECORDS}
_ACTIONS = {record["id"]: record["action"] for record in _RECORDS}

observed = pytest.mark.observed
"""Decorator: the test shows these observations to be equal here."""

PAGE = 4096
RAM = 512 << 20
"""As theirs."""
SPARSE_RAM = [(0, 32 << 20), (256 << 20, 4 << 20)]
"""What of it matters to most tests: the host's, and the beginning of what memmap= reserves; quicker to restore."""
BASE = 0x10000000
"""Where payloads lie."""
DATA = 0x800
"""Where a payload's data lie, behind its beginning (payloads.S)."""
PLAIN_RAM = FREE_PAGES[0]

_TRANSLATED = {
    "ffff88801fea3000": f"{0xFFFF888000000000 + SHARED_MEMORY:x}",
    "  1fea3000-1fea83ff": f"  {SHARED_MEMORY:08x}-{SHARED_MEMORY + 0x53FF:08x}",
    "1fea3000": f"{SHARED_MEMORY:x}",
    "1fea83ff": f"{SHARED_MEMORY + 0x53FF:x}",
    "1fc38000": f"{SHARED_MEMORY:x}",  # the same area with another initrd
    "0x000000000114d000": "0x0000000000000000",
    "0x13b50": f"{BOOT_PARAMS:#x}",
    "0x8000100-0x80054ff": f"{PLAIN_RAM + 0x100:#x}-{PLAIN_RAM + 0x54FF:#x}",
}


def text(name: str) -> str:
    """What was observed, translated."""
    found = OBSERVED[name]
    for theirs, ours in _TRANSLATED.items():
        found = found.replace(theirs, ours)
    return found


def said(name: str) -> list[str]:
    """What was observed literally: the strings in quotes."""
    return [one.replace(r"\n", "\n") for one in re.findall(r'"([^"]*)"', text(name))]


def action(name: str) -> str:
    """What was done."""
    return _ACTIONS[name]


def result(name: str) -> int:
    """The errno with which the call was refused, or 0: the observation begins with it."""
    found = re.match(r"(0|E[A-Z]+)\b", OBSERVED[name])
    assert found is not None, f"{name} does not begin with a result"
    return 0 if found[1] == "0" else int(getattr(errno, found[1]))


def outcome(call: Callable[..., object], *args: Any, **values: Any) -> int:
    """The errno with which ``call`` is refused here, or 0."""
    try:
        call(*args, **values)
    except KexecError as error:
        return error.errno
    return 0


# The machine


def boot(cmdline: str = "", ram: Any = None, **machine: Any) -> Host:
    """A host that has booted, on a machine like theirs."""
    host = Host(Machine(machine.pop("cpus", 4), ram=ram or SPARSE_RAM, **machine))
    host.boot(cmdline)
    return host


def printed(host: Host) -> list[str]:
    """The host's log, as far as process context wrote it."""
    return [event.text for event in host.machine.trace.of(Printk) if event.kernel == host.name]


def console(host: Host, kernel: str = "host") -> list[str]:
    """The lines of a kernel's console."""
    return host.machine.console(kernel).splitlines()


# Payloads

_SCRIPT = "SECTIONS { . = 0; .text : { *(.text) } }"


@functools.cache
def _payloads() -> tuple[bytes, dict[str, int]]:
    source = (Path(__file__).parent / "payloads.S").read_text()
    elf = ELFFile(io.BytesIO(build({"payloads.S": source}, _SCRIPT, movable=False)))
    code, table = elf.get_section_by_name(".text"), elf.get_section_by_name(".symtab")
    assert code is not None
    assert isinstance(table, SymbolTableSection)
    return code.data(), {symbol.name: symbol["st_value"] for symbol in table.iter_symbols() if symbol.name}


def payload(name: str) -> bytes:
    """The code of a payload of payloads.S."""
    code, symbols = _payloads()
    return code[symbols[name] : symbols[f"{name}_end"]]


def tables(base: int) -> bytes:
    """Three pages of page tables, to lie at ``base`` + 0x1000: the first GiB, mapped to itself."""
    entries = [[base + 0x2003], [base + 0x3003], [index << 21 | 0x83 for index in range(512)]]
    return b"".join(b"".join(one.to_bytes(8, "little") for one in page).ljust(PAGE, b"\0") for page in entries)


def load(host: Host, name: str, base: int = BASE) -> int:
    """kexec_load of a payload, entered at its beginning; the errno."""
    data = payload(name).ljust(PAGE, b"\0") + tables(base)
    return outcome(host.kexec_load, base, [KexecSegment(data, base, len(data))], KEXEC_MULTIKERNEL)


def kick(host: Host, name: str, cpu: int = 1, base: int = BASE, budget: int = 20_000) -> None:
    """Load a payload, start it on ``cpu``, which goes offline if need be, and let it run."""
    assert load(host, name, base) == 0
    if host.cpu_online(cpu):
        host.cpu_down(cpu)
    host.multikernel_kexec(cpu)
    host.machine.run(budget)


def counted(host: Host, base: int = BASE) -> tuple[int, int]:
    """How often a counting payload was entered, and how many rounds it has done."""
    read = host.machine.memory.read_u64
    return read(base + DATA), read(base + DATA + 8)
