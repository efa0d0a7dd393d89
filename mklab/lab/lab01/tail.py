"""Exercise 01.3: where the bytes of a segment end, and what lies behind them. The machine is the student's own."""

from functools import cache
from random import Random
from typing import Any

from mklab.kernel.kexec import PAGE_SIZE, KexecSegment
from mklab.lab import forms
from mklab.lab.defects.stage import booted
from mklab.lab.forms.values import Value, Wrong

__all__ = ["numbers", "tail"]

_OLD, _IMAGE = b"\xcc", b"\x5a"
_BUFSZ_ONLY = "You ended the load with the buffer. It goes on to memsz: what the buffer does not fill is cleared."


def numbers(seed: int) -> tuple[int, int, int]:
    """mem, bufsz and memsz of the student's segment: its buffer ends within a page that is not its last one."""
    chance = Random(seed)  # noqa: S311  # no secret
    pages, filled = chance.randrange(4, 9), chance.randrange(1, 3)
    bufsz = filled * PAGE_SIZE + 16 * chance.randrange(8, 200)
    return 0x3000000 + chance.randrange(256) * PAGE_SIZE, bufsz, pages * PAGE_SIZE


def given(seed: int) -> str:
    """The numbers in words."""
    mem, bufsz, memsz = numbers(seed)
    return (
        f"Your segment: mem {mem:#x}, bufsz {bufsz:#x}, memsz {memsz:#x}. Every byte of its buffer is 0x5A, and every"
        " byte of memory around its destination was 0xCC before the load."
    )


@cache
def facts(seed: int) -> dict[str, Any]:
    """What the machine holds after the load."""
    mem, bufsz, memsz = numbers(seed)
    host = booted(1)
    around = memsz + 4 * PAGE_SIZE
    host.machine.poke(mem, _OLD * around)
    host.kexec_load(mem, [KexecSegment(_IMAGE * bufsz, mem, memsz)])
    memory = host.machine.memory.read(mem, around)
    last = mem + memory.rindex(_IMAGE)
    return {"last": last, "behind": memory[last + 1 - mem], "kept": mem + memory.index(_OLD)}


def _page_up(address: int) -> int:
    return -(-address // PAGE_SIZE) * PAGE_SIZE


tail = forms.values(
    "01.3",
    "The tail of a segment",
    "memory",
    facts,
    (
        Value("last", "the address of the last byte that is 0x5A", "The buffer's first byte lies at mem itself."),
        Value("behind", "the byte that lies right behind it after the load", "Load such a segment, and read the byte."),
        Value(
            "kept",
            "the address of the first byte from mem on that is still 0xCC",
            "Up to which of the two sizes does a load write?",
        ),
    ),
    (
        "Two sizes belong to a segment. One says how many bytes there are to copy.",
        "kimage_load_multikernel_segment goes through memsz page by page, and clears each page before it fills it.",
        "last = mem + bufsz - 1; the two others follow from memsz.",
    ),
    (
        Wrong("nothing behind the buffer is cleared", {"behind": 0xCC}, _BUFSZ_ONLY),
        Wrong("kept begins behind the buffer", lambda right: {"kept": right["last"] + 1}, _BUFSZ_ONLY),
        Wrong(
            "the buffer again",
            {"behind": 0x5A},
            "0x5A is a byte of the buffer, and last is the last of them. Behind it the buffer has nothing.",
        ),
        Wrong(
            "the buffer fills the segment",
            lambda right: {"last": right["kept"] - 1},
            "That is the last byte of the segment: you counted memsz bytes. The buffer has bufsz.",
        ),
        Wrong(
            "to the end of the page",
            lambda right: {"kept": _page_up(right["last"])},
            "You let the clearing end with the page in which the buffer ends. The pages behind it, up to memsz, belong"
            " to the segment as well, and are cleared.",
        ),
        Wrong(
            "one too far",
            lambda right: {"last": right["last"] + 1},
            "That is the first byte that the buffer does not fill: bufsz bytes end at mem + bufsz - 1.",
        ),
        Wrong(
            "the last byte of the segment",
            lambda right: {"kept": right["kept"] - 1},
            "That byte is the segment's last one, and was cleared: mem + memsz is the first that was left alone.",
        ),
    ),
    passed="A load writes memsz bytes: first the buffer, then zeros. A kernel counts on it: its .bss is such a tail.",
    given=given,
)
