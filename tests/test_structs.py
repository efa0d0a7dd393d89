"""Layouts against ctypes, which follows the host's C compiler (x86-64 and arm64 agree for these types)."""

import ctypes
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.structs import Field, Struct

C_TYPES = {
    "u8": ctypes.c_uint8,
    "s8": ctypes.c_int8,
    "u16": ctypes.c_uint16,
    "s16": ctypes.c_int16,
    "u32": ctypes.c_uint32,
    "s32": ctypes.c_int32,
    "u64": ctypes.c_uint64,
    "s64": ctypes.c_int64,
}
SLOT = Struct("slot", Field("flag", "u8"), Field("count", "s32"), Field("words", "u16", 3), Field("address", "u64"))


class Bytes:
    """A memory of 64 bytes."""

    def __init__(self) -> None:
        self.data = bytearray(64)

    def read(self, paddr: int, size: int) -> bytes:
        return bytes(self.data[paddr : paddr + size])

    def write(self, paddr: int, data: bytes) -> None:
        self.data[paddr : paddr + len(data)] = data


@given(st.lists(st.tuples(st.sampled_from(sorted(C_TYPES)), st.integers(1, 5)), min_size=1, max_size=8))
def test_layout_is_the_compilers(fields: list[tuple[str, int]]) -> None:
    ours = Struct("s", *(Field(f"f{i}", kind, count) for i, (kind, count) in enumerate(fields)))
    theirs = type(
        "Theirs",
        (ctypes.Structure,),
        {"_fields_": [(f"f{i}", C_TYPES[kind] * count) for i, (kind, count) in enumerate(fields)]},
    )
    assert ours.size == ctypes.sizeof(theirs)
    assert ours.offsets == {f"f{i}": getattr(theirs, f"f{i}").offset for i in range(len(fields))}


@given(st.integers(-(2**31), 2**31 - 1), st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3))
def test_fields_lie_where_they_should(count: int, words: list[int]) -> None:
    memory = Bytes()
    view = SLOT(memory, 16)
    view.set("count", count)
    for index, word in enumerate(words):
        view.set("words", word, index)
    assert memory.data[20:24] == count.to_bytes(4, "little", signed=True)
    assert memory.data[24:30] == b"".join(word.to_bytes(2, "little") for word in words)
    assert (view.get("count"), [view.get("words", i) for i in range(3)]) == (count, words)
    assert view.address("words", 2) == 28
    assert not any(memory.data[:20]), "the neighbours are left alone"
    assert not any(memory.data[30:]), "the neighbours are left alone"


def test_bytes_of_a_field() -> None:
    memory = Bytes()
    view = SLOT(memory, 0)
    view.set_bytes("words", b"abcd")
    assert view.get_bytes("words") == b"abcd\0\0"
    assert view.get_bytes("words", 2) == b"ab"
    with pytest.raises(ValueError, match=r"^slot\.words must take at most 6 bytes, not 7$"):
        view.set_bytes("words", b"1234567")
    assert view.get_bytes("words") == b"abcd\0\0", "nothing was written"


@pytest.mark.parametrize(
    ("name", "value", "kind"), [("flag", 256, "u8"), ("flag", -1, "u8"), ("count", 1 << 31, "s32")]
)
def test_a_value_that_does_not_fit_is_refused(name: str, value: int, kind: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'slot.{name} must be a {kind}, not {value}')}$"):
        SLOT(Bytes(), 0).set(name, value)


@pytest.mark.parametrize("index", [-1, 3])
def test_an_element_that_does_not_exist_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=rf"^index of slot\.words must be 0 to 2, not {index}$"):
        SLOT(Bytes(), 0).get("words", index)
