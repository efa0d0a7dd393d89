"""Descriptors of students: decoded here by the manual's drawing, there by the machine."""

import pytest

from mklab.lab import lab02


@pytest.mark.parametrize("seed", range(6))
def test_the_machine_and_the_manual_agree(seed: int) -> None:
    exercise = next(one for one in lab02.EXERCISES if one.id == "02.5")
    assert exercise.given is not None
    value = int.from_bytes(bytes.fromhex(exercise.given(seed).splitlines()[-1]), "little")
    base = value >> 16 & 0xFFFFFF | value >> 56 << 24
    limit = value & 0xFFFF | value >> 32 & 0xF0000
    assert value >> 55 & 1, "G is set for everybody"
    assert limit > 0xFFFF, "the upper bits of the limit count for everybody"
    answer = (
        f"base = {base}\nlast = {(limit + 1) * 4096 - 1}\n"
        f"code = {bool(value >> 43 & 1)}\nwide = {bool(value >> 54 & 1)}\n"
    )
    assert exercise.examine(answer, seed).passed
    assert not exercise.examine(answer.replace("base = ", "base = 1 + "), seed).passed
