"""A CPU as plain data."""

import json

from mklab.machine.cpu import Cpu, CpuState


def test_it_is_plain_data() -> None:
    cpu = Cpu(3, 17, CpuState.HALTED, "long", "kernel 1", "host", True)
    again = Cpu.from_dict(json.loads(json.dumps(cpu.to_dict())))
    assert again == cpu
    assert again.state is CpuState.HALTED


def test_only_the_first_is_the_bsp() -> None:
    assert [Cpu(index, 7 - index).bsp for index in range(3)] == [True, False, False]
