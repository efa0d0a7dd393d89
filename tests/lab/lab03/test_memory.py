"""Walks and maps of lab 03, by other ways of counting."""

import pytest

from mklab.lab import lab03
from mklab.lab.lab03.walk import GuestMemory
from mklab.machine.memory import PhysicalMemory


@pytest.mark.parametrize("seed", range(4))
def test_an_entry_of_the_identity_mapping(seed: int) -> None:
    one = next(one for one in lab03.EXERCISES if one.id == "03.3")
    assert one.given is not None
    address = int(one.given(seed).split()[-1].rstrip("."), 16)
    # The four directories are one table of 2048 entries behind the PDPT, and an entry is the address of its page.
    answer = (
        f"pdpte = {0x99000 + address // (1 << 30) * 8}\npde = {0x9A000 + address // (2 << 20) * 8}\n"
        f"entry = {address // (2 << 20) * (2 << 20) + 0x183}\n"
    )
    assert one.examine(answer, seed).passed


@pytest.mark.parametrize("seed", range(4))
def test_a_store_behind_the_pdpt(seed: int) -> None:
    one = next(one for one in lab03.EXERCISES if one.id == "03.9")
    assert one.given is not None
    entry = int(one.given(seed).splitlines()[0].split()[4].rstrip("."), 16)
    index = entry // (1 << 30)
    assert 512 < index < 1024
    answer = (
        f"index = {index}\nwrote = {0x99000 + 8 * index}\nlost = {(index - 512) * (2 << 20)}\nneeded = {0x98000 + 8}\n"
    )
    assert one.examine(answer, seed).passed


def test_memory_as_an_answer_may_use_it() -> None:
    memory = GuestMemory(PhysicalMemory([(0, 4096)]))
    memory.write_u64(8, 1 << 63)
    assert memory.read_u64(8) == 1 << 63
    with pytest.raises(ValueError, match="not 0x4"):
        memory.read_u64(4)
    with pytest.raises(ValueError, match="not 0x1000"):
        memory.write_u64(4096, 0)
    with pytest.raises(ValueError, match="not -1"):
        memory.write_u64(0, -1)
    with pytest.raises(ValueError, match="not '8'"):
        memory.read_u64("8")
