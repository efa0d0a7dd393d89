"""One syntax wherever guest code is shown: AT&T, as GNU as takes it."""

import pytest

from mklab.recording import Line
from mklab.timeline.disassembly import disassembled, is_atomic


@pytest.mark.parametrize(
    ("code", "bits", "text"),
    [
        ("8b07", 64, "movl (%rdi), %eax"),
        ("8b07", 32, "movl (%edi), %eax"),
        ("8b07", 16, "movw (%bx), %ax"),
        ("48c7052000000007000000", 64, "movq $7, 0x20(%rip)"),
        ("f0480fc107", 64, "lock xaddq %rax, (%rdi)"),
        ("f390", 64, "pause"),
    ],
)
def test_att_syntax_in_each_mode(code: str, bits: int, text: str) -> None:
    assert disassembled(0x1000, bytes.fromhex(code), bits, 6) == (Line(0x1000, code, text),)


def test_as_many_as_asked_for_and_as_there_are() -> None:
    assert [line.linear for line in disassembled(0x1000, b"\x90" * 6, 64, 4)] == [0x1000, 0x1001, 0x1002, 0x1003]
    assert [line.text for line in disassembled(0x1000, bytes.fromhex("faf4480f"), 64, 6)] == ["cli", "hlt"]


@pytest.mark.parametrize(
    ("code", "atomic"),
    [
        ("f0480fc107", True),  # lock xadd
        ("8707", True),  # xchg with memory: LOCK is implied
        ("871c2500500000", True),  # at an absolute address, without a register
        ("6487042510000000", True),  # %fs:0x10
        ("93", False),  # xchg %eax, %ebx
        ("87d8", False),
        ("480fc107", False),  # xadd without LOCK
        ("ff07", False),
    ],
)
def test_what_reads_and_writes_memory_as_one(code: str, atomic: bool) -> None:
    (line,) = disassembled(0, bytes.fromhex(code), 64, 1)
    assert is_atomic(line.text) is atomic, line.text
