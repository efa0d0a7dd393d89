"""The frame around relay(): it survives the start of another kernel, and calls the student's function for 0xEA only."""

from mklab.guest.abi import MULTIKERNEL_VECTOR
from mklab.kernel.host import Host
from mklab.lab import guestcode
from mklab.lab.lab07.hello import OWN, beside_kernel_1, load, slot
from mklab.lab.lab07.relay import FRAME
from mklab.lab.lab07.runs import window
from mklab.machine.machine import Machine

_COUNT = """
unsigned count, who;
void relay(void *slots, unsigned me) {
    *(volatile unsigned *)0xfee000b0ul = 0;
    count++;
    who = me;
    (void)slots;
}
"""


def started() -> tuple[Machine, Host, guestcode.Code]:
    code = guestcode.compiled(_COUNT, "c", window(2).start, frame=guestcode.Frame(sources=(("frame.S", FRAME),)))
    machine = beside_kernel_1()
    machine.poke(code.base, code.data)
    host = load(machine, code, code.symbols["frame_start"])
    host.multikernel_kexec(OWN)
    host.settle()
    return machine, host, code


def count(machine: Machine, code: guestcode.Code) -> int:
    return int.from_bytes(machine.memory.read(code.symbols["count"], 4), "little")


def test_it_calls_relay_once_for_each_message_with_its_own_number() -> None:
    machine, host, code = started()
    for _ in range(2):
        host.send_by_hand(MULTIKERNEL_VECTOR, OWN, slot=OWN)
        host.settle()
    assert count(machine, code) == 2
    assert machine.memory.read(code.symbols["who"], 1) == bytes([OWN])
    assert slot(OWN).start - slot(0).start == OWN * 272


def test_it_has_page_tables_of_its_own() -> None:
    machine, host, code = started()
    assert machine.registers(OWN).cr3 == code.symbols["tables"]
    host.cpu_down(3)
    host.cpu_up(3)  # the trampoline clears its tables
    host.send_by_hand(MULTIKERNEL_VECTOR, OWN, slot=OWN)
    host.settle()
    assert count(machine, code) == 1
    assert machine.stopped is None


def test_a_cell_without_relay_builds_and_defines_none() -> None:
    code = guestcode.compiled("int other;", "c", window(2).start, frame=guestcode.Frame(sources=(("frame.S", FRAME),)))
    assert "relay" not in code.symbols
