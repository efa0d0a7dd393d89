"""Lab 05: what its demonstrations show, and that its numbers are the machine's."""

import struct

import pytest

from mklab.kernel.layout import SHARED_MEMORY
from mklab.lab.lab05 import account, area, areas, booting, demonstrations, filled, host_with, pages, slots, sources

PFN_TYPE = 0x80000001


def test_with_equal_numbers_the_message_is_found() -> None:
    host = host_with([0, 1, 2, 3])
    host.multikernel_send_ipi_data(2, b"hello", 70)
    host.settle()
    assert account(host) == "CPU 0 interrupts CPU 2 (APIC id 2), which looks into slot 2: type 70, 'hello'"


def test_with_gaps_it_is_another_slot_and_then_another_cpus_message() -> None:
    host = host_with([0, 2, 4, 6])
    for cpu, text in ((2, b"for CPU 2"), (1, b"for CPU 1")):
        host.multikernel_send_ipi_data(cpu, text, 70 + cpu)
        host.settle()
    first, second = account(host).splitlines()
    assert first.endswith("(APIC id 4), which looks into slot 4: type 0, ''")
    assert second.endswith("(APIC id 2), which looks into slot 2: type 72, 'for CPU 2'")
    assert [line.split()[0] for line in area(host, 5).splitlines() if "for CPU" in line] == ["1", "2"]


def test_only_a_kernel_that_has_the_area_for_ram_wipes_it() -> None:
    found = {how: demonstrations.boots_meanwhile(how) for how in demonstrations._AREAS}
    assert [one.type for one in found.values()] == [0, 77, 77]
    assert booting().count("'hello'") == 2


@pytest.mark.parametrize("seed", range(4))
def test_the_slot_as_struct_reads_it(seed: int) -> None:
    facts, apic_id = slots._facts(seed), slots._receiver(seed)
    data = filled(seed).memory.read(SHARED_MEMORY + 272 * apic_id, 272)
    sender, kind, size = struct.unpack_from("<iIQ", data)
    assert facts == {
        "slot": SHARED_MEMORY + 272 * apic_id,
        "sender": sender,
        "kind": kind,
        "payload": data[16 : 16 + size],
    }


def test_ids_behind_64_slots_are_those_that_a_real_kernel_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """rfc-observed: an area of 21504 bytes; whole slots to id 78, to 89 with whole pages."""
    monkeypatch.setattr(areas, "_nr_cpus", lambda _seed: 64)
    assert areas._facts(0) == {"size": 21504, "last": 78, "torn": 79, "mapped": 89}


@pytest.mark.parametrize("seed", range(4))
def test_what_mk_receive_pfn_refuses(seed: int) -> None:
    facts, sent = pages._facts(seed), pages._planned(seed)
    refused = [number for number, (kind, size, _) in enumerate(sent, 1) if (kind, size) != (PFN_TYPE, 8)]
    assert facts["refused"] == refused
    assert len(refused) == 3
    danger = sent[facts["danger"] - 1]
    assert not 0x3000 <= int.from_bytes(danger[2], "little") < 0x4000


def test_the_functions_shown_are_whole() -> None:
    text = sources("mk_receive_pfn", "fill_slot")
    assert text.startswith("long mk_receive_pfn(")
    assert text.rstrip().endswith("}")
    assert text.count("\n}\n") == 2
