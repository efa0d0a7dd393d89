"""record(): the film of a machine agrees with the machine, and the machine does not notice."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from mklab.errors import MklabError
from mklab.guest.abi import MK_IPI_DATA, MULTIKERNEL_VECTOR
from mklab.kernel.host import Host
from mklab.kernel.minikernel import minikernel_image
from mklab.kernel.proc import proc_multikernel
from mklab.machine import state
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.memory import PAGE
from mklab.machine.schedule import RoundRobin
from mklab.paging import walk
from mklab.recording import Film
from mklab.timeline.pages import offered
from mklab.timeline.record import Recorder, record
from mklab.timeline.sight import apic_values, register_values
from mklab.timeline.timeline import Timeline
from mklab.trace import ApicWrite, ConsoleByte, Delivered, Eoi, IpiSent, Slice
from tests.machine.guestcode import CODE, DATA, PAGE_TABLE, long_mode, real_mode
from tests.timeline.guests import guest

EVERY = ["slice", "event", "instruction"]
IPI = f"""
    movl ${APIC_BASE:#x}, %ebx
    movl $0x01000000, 0x310(%rbx)
    movl $0x41, 0x300(%rbx)
    movl $7, {DATA:#x}
    hlt
cpu1:
    movl ${APIC_BASE:#x}, %ebx
    sti
    hlt
    hlt
vector_41:
    incl {DATA + 4:#x}
    movl $0, 0xB0(%rbx)
    iretq
"""


def ipi_machine() -> Machine:
    machine, _ = long_mode(IPI, cpus=2, schedule=RoundRobin(5))
    return machine


def spinning() -> Machine:
    """Two CPUs that store all over the place, in slices of odd lengths."""
    code = f"""
    1: movl %ecx, {DATA:#x}
    addl $0x1000, %edx
    andl $0x3f000, %edx
    movl %ecx, {0x100000:#x}(%rdx)
    loop 1b
    hlt
    cpu1: incq {DATA + 8:#x}
    pushq $5
    popq %rax
    jmp cpu1
    """
    return long_mode(code, cpus=2, schedule=RoundRobin(37))[0]


def same(film: Film, machine: Machine) -> None:
    """The last frame is the machine as it is."""
    frame = film.frame(film.count - 1)
    for cpu in machine.cpus:
        registers = machine.engine.registers(cpu.index)
        assert frame.registers(cpu.index) == register_values(registers)
        values = apic_values(machine.apics[cpu.index])
        assert frame.apic(cpu.index) == {name: value for name, value in values.items() if value is not None}
        found = walk(machine.memory, registers, registers.linear_rip)
        assert frame.where(cpu.index).get("rip") == found.paddr
        way = frame.walk(cpu.index, registers.linear_rip)
        assert way.paddr == found.paddr
        assert tuple((level.name, level.address, level.entry) for level in way.levels) == found.entries
    for start, size in machine.memory.ranges:
        for page in range(start, start + size, PAGE):
            assert frame.read(page, PAGE) == machine.memory.read(page, PAGE)


def two_kernels(recorded: Callable[[Machine], Recorder | None]) -> tuple[Machine, Host, Recorder | None]:
    machine = Machine(2)
    host = Host(machine)
    recorder = recorded(machine)
    host.boot()
    host.cpu_down(1)
    host.load(minikernel_image(0x2000000, 1, [1, 0]))
    host.multikernel_kexec(1)
    host.wait_online("kernel 1", 1)
    host.settle()
    host.multikernel_send_ipi_data(1, b"ping")
    host.settle()
    return machine, host, recorder


@pytest.fixture(scope="module")
def recorded() -> tuple[Machine, Host, Recorder]:
    machine, host, recorder = two_kernels(lambda machine: record(machine, every="event"))
    assert recorder is not None
    return machine, host, recorder


def test_a_recorded_run_is_the_same_run(recorded: tuple[Machine, Host, Recorder]) -> None:
    plain, _, _ = two_kernels(lambda machine: None)
    slices, _, _ = two_kernels(record)
    assert recorded[0].trace.sha256 == slices.trace.sha256 == plain.trace.sha256


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("make", [ipi_machine, spinning])
def test_however_often_it_is_looked_at(make: Callable[[], Machine], every: str) -> None:
    plain, machine = make(), make()
    recorder = record(machine, every=every)
    for one in (plain, machine):
        one.run(2000)
    assert machine.trace.sha256 == plain.trace.sha256
    assert machine.memory.state() == plain.memory.state()
    same(recorder.film, machine)


def test_the_film_is_the_machine(recorded: tuple[Machine, Host, Recorder]) -> None:
    machine, _, recorder = recorded
    same(recorder.film, machine)
    assert recorder.film.events == machine.trace.events
    assert recorder.film.recording.cpus[1].owner == "kernel 1"


def test_and_was_the_machine_at_each_slice() -> None:
    """Each frame, asked for at the end, against a copy made on the way."""
    machine = spinning()
    recorder = record(machine)
    kept = []
    for _ in range(40):
        machine.step()
        registers = [register_values(machine.engine.registers(cpu)) for cpu in (0, 1)]
        kept.append((machine.trace.count - 1, registers, machine.memory.read(0, 2 << 20)))
    film = Film.from_bytes(recorder.stop().to_bytes())
    order = list(kept)
    random.Random(3).shuffle(order)
    for event, registers, memory in order:
        frame = film.frame(event)
        assert [frame.registers(cpu) for cpu in (0, 1)] == registers
        assert frame.read(0, 2 << 20) == memory


def test_each_source_of_changed_pages_makes_the_same_film() -> None:
    films = []
    for source in offered():
        machine = ipi_machine()
        recorder = record(machine, source=source)
        machine.poke(0x9000, b"poked")
        machine.run()
        films.append(recorder.stop())
        assert recorder.source == source
    assert films[0].to_bytes() == films[-1].to_bytes()


def test_code_that_is_mapped_elsewhere() -> None:
    machine = spinning()
    recorder = record(machine)
    machine.run(37)
    place = machine.current
    before = recorder.film.frame(recorder.film.count - 1).where(place)
    machine.poke(0x30000, machine.memory.read(CODE, PAGE))
    machine.poke(PAGE_TABLE + (CODE >> 12) * 8, (0x30007).to_bytes(8, "little"))
    after = recorder.film.frame(recorder.film.count - 1).where(place)
    assert after["rip"] - before["rip"] == 0x30000 - CODE
    assert after["walk"][-1][::2] == ["PT", 0x30007]
    same(recorder.film, machine)


def test_who_wrote_what() -> None:
    machine = ipi_machine()
    with record(machine) as recorder:
        machine.poke(0x9000, b"poked")
        machine.run()
    film = recorder.film
    told = [(look.cause, look.detail, look.cpu) for look in film.looks]
    assert told[:2] == [("start", "", None), ("input", "poke", None)]
    assert {one[::2] for one in told[2:]} == {("slice", 0), ("slice", 1)}
    writer = film.frame(film.count - 1).last_writer(0x9000)
    assert writer is not None
    assert writer.detail == "poke"
    (poked,) = film.frame_of(1).writes()
    assert (poked.address, poked.old, poked.new) == (0x9000, bytes(5), b"poked")
    stores = {
        (look.cpu, one.address): one.new for look in film.looks[2:] for one in film.frame_of(look.number).writes()
    }
    assert stores[0, DATA] == b"\7"
    assert stores[1, DATA + 4] == b"\1"


def test_each_event_has_its_look() -> None:
    """The state at the event, not at the end of its slice."""
    machine = ipi_machine()
    recorder = record(machine, every="event")
    machine.run()
    film = recorder.stop()
    (sent,) = machine.trace.of(IpiSent)
    assert film.frame(sent.seq - 1).apic(1)["irr"] == []
    assert film.frame(sent.seq + 1).apic(1)["irr"] == [0x41]
    assert film.frame(sent.seq).apic(0)["icr_destination"] == 1
    (delivered,) = machine.trace.of(Delivered)
    frame = film.frame(delivered.seq)
    assert frame.registers(1)["rip"] == delivered.handler
    assert frame.apic(1)["isr"] == [0x41]
    assert frame.code(1)[0].text == f"incl {DATA + 4:#x}"
    (eoi,) = machine.trace.of(Eoi)
    assert film.frame(eoi.seq - 1).apic(1)["isr"] == [0x41]
    assert film.frame(eoi.seq).apic(1)["isr"] == []
    writes = [event for event in machine.trace.of(ApicWrite) if event.offset == 0x300]
    assert film.frame(writes[0].seq).registers(0)["rip"] > film.frame(writes[0].seq - 1).registers(0)["rip"]


def test_each_instruction_has_its_look() -> None:
    machine, code = real_mode("movw $5, %ax\n movw %ax, 0x9000\n lgdt 0x8800\n smsw %bx\n orw $1, %bx\n lmsw %bx\n hlt")
    machine.poke(0x8800, (23).to_bytes(2, "little") + (0x1000).to_bytes(4, "little"))
    machine.poke(0x1000, bytes(8) + (0x00CF9B000000FFFF).to_bytes(8, "little"))
    recorder = record(machine, every="instruction")
    machine.run(7)
    film = recorder.stop()
    steps = [film.frame_of(look.number) for look in film.looks[1:] if look.cause == "slice"]
    texts = [one.code(0)[0].text for one in (film.frame_of(0), *steps[:6])]
    assert texts == ["movw $5, %ax", "movw %ax, 0x9000", "lgdtw 0x8800", "smsww %bx", "orw $1, %bx", "lmsww %bx", "hlt"]
    assert steps[0].changed(0) == {"rip": (code.base, code.base + 3), "rax": (0, 5)}
    assert [(one.address, one.new) for one in steps[1].writes()] == [(0x9000, b"\5")]
    assert steps[2].gdt(0)[1][1].kind == "code"
    assert "PE" not in steps[4].bits(0)["cr0"]
    assert "PE" in steps[5].bits(0)["cr0"]
    assert [look.time for look in film.looks[1:7]] == list(range(1, 7))


def test_finer_looks_for_a_stretch() -> None:
    machine = spinning()
    recorder = record(machine)
    machine.run(74)
    before = len(recorder.film.looks)
    recorder.every = "instruction"
    machine.run(37)
    fine = len(recorder.film.looks) - before
    recorder.every = "slice"
    machine.run(74)
    assert fine >= 37
    assert len(recorder.film.looks) - before - fine <= 3
    with pytest.raises(ValueError, match=r"every must be one of \['slice', 'event', 'instruction'\], not 'message'"):
        recorder.every = "message"


def test_tables_are_decoded_where_they_lie(recorded: tuple[Machine, Host, Recorder]) -> None:
    """The hidden parts of the segment registers were loaded from the same entries."""
    machine, _, recorder = recorded
    frame = recorder.film.frame(recorder.film.count - 1)
    for cpu, kernel in ((0, "host"), (1, "kernel 1")):
        registers = frame.registers(cpu)
        entry = dict(frame.gdt(cpu))[registers["cs"] & ~7]
        assert (entry.kind, entry.bits, entry.base) == ("code", 64, registers["cs.base"])
        gate = frame.idt_entry(cpu, MULTIKERNEL_VECTOR)
        assert gate is not None
        symbol = machine.images[kernel].symbols["asm_sysvec_multikernel"]
        delivered = [event for event in machine.trace.of(Delivered) if event.cpu == cpu and event.vector == 0xEA]
        assert gate.offset == delivered[-1].handler
        assert walk(machine.memory, machine.registers(cpu), gate.offset).paddr == symbol
        assert frame.idt_entry(cpu, 256) is None


def test_what_the_kernels_keep_is_decoded(recorded: tuple[Machine, Host, Recorder]) -> None:
    machine, host, recorder = recorded
    film = recorder.film
    frame = film.frame(film.count - 1)
    nodes = frame.nodes(frame.find("kexec_image_list"))
    (image,) = host.kimages
    assert [node.address for node in nodes[1:]] == [image.paddr]
    assert nodes[1].fields["start"] == image.get("start")
    assert frame.text("/proc/multikernel") == proc_multikernel(host.kimages)
    sent = next(event for event in machine.trace.of(IpiSent) if event.vector == MULTIKERNEL_VECTOR)
    slot = film.frame(sent.seq).fields(film.frame(sent.seq).find("mk_shared_data", "host"), 1)
    assert (slot["type"], slot["data_size"], slot["buffer"][:8]) == (1, 4, b"ping".hex())
    status = frame.find("kernel_phys_addr")
    assert frame.fields(status) == {"value": 0x2000000}
    texts = film.texts.changes
    assert [list(change) for change in texts] == [["/proc/multikernel"]] * len(texts)
    assert "No kimages loaded" in texts[0]["/proc/multikernel"]


def test_a_corrupt_list_is_told_as_it_is(recorded: tuple[Machine, Host, Recorder]) -> None:
    machine, host, recorder = two_kernels(record)
    assert recorder is not None
    (image,) = host.kimages
    machine.poke(image.address("list_next"), (0xDEAD0000).to_bytes(8, "little"))
    frame = recorder.film.frame(recorder.film.count - 1)
    assert frame.nodes(frame.find("kexec_image_list"))[-1].why == "next leads to 0xdead0000, where there is no memory"
    text = frame.text("/proc/multikernel")
    assert text is not None
    assert text.startswith("/proc/multikernel cannot be read: kexec_image_list leads to 0xdead0000")


def test_a_bug_of_ours_is_found(recorded: tuple[Machine, Host, Recorder]) -> None:
    """The slots are where the guest's compiler put them: their size is the struct's."""
    frame = recorded[2].film.frame(recorded[2].film.count - 1)
    assert frame.find("mk_shared_data", "host").size == 64 * MK_IPI_DATA.size


# Taken back


def snapshot_run(machine: Machine) -> tuple[dict[str, object], int]:
    return state.state(machine), machine.trace.count


def go_back(machine: Machine, saved: tuple[dict[str, object], int]) -> None:
    """As a timeline does it: the events before that moment stay."""
    events = machine.trace.events[: saved[1]]
    state.restore(machine, saved[0])
    machine.trace.events = events


def test_the_same_future_leaves_the_film_as_it_is() -> None:
    machine = spinning()
    recorder = record(machine)
    machine.run(400)
    saved = snapshot_run(machine)
    machine.run(400)
    film = recorder.film
    before = film.to_bytes()
    go_back(machine, saved)
    assert recorder.film.to_bytes() == before
    machine.run(185)
    assert recorder.film.to_bytes() == before
    machine.run(400)
    assert recorder.film.count == machine.trace.count
    same(recorder.film, machine)


def test_another_future_is_recorded_anew() -> None:
    machine = spinning()
    recorder = record(machine)
    machine.run(400)
    saved = snapshot_run(machine)
    machine.run(400)
    go_back(machine, saved)
    machine.poke(0x30000, b"another")
    machine.run(400)
    assert recorder.film.events == machine.trace.events
    same(recorder.film, machine)
    plain = spinning()
    plain.run(400)
    plain.poke(0x30000, b"another")
    plain.run(400)
    same(recorder.film, plain)


def test_back_into_the_middle_of_what_was_recorded() -> None:
    """Other instructions on another way: a slice cut short, from a moment that was looked at."""
    machine = spinning()
    recorder = record(machine)
    machine.run(370)
    saved = snapshot_run(machine)
    machine.run(370)
    go_back(machine, saved)
    machine.run(10)
    assert machine.trace.of(Slice)[-1].executed == 10
    assert recorder.film.count == machine.trace.count
    same(recorder.film, machine)


def test_a_moment_that_was_never_recorded() -> None:
    machine, other = spinning(), spinning()
    record(machine)
    other.run(4000)
    state.restore(machine, state.state(other))
    with pytest.raises(MklabError, match=r"the machine was taken to event \d+, but the recording ends at \d+: begin"):
        machine.run(100)


def test_a_trace_without_its_beginning() -> None:
    machine, other = spinning(), spinning()
    other.run(100)
    state.restore(machine, state.state(other))
    with pytest.raises(ValueError, match=r"machine must have a trace that begins at power-on, not at event \d+"):
        record(machine)


def test_a_machine_that_has_run_already() -> None:
    machine = ipi_machine()
    machine.run()
    recorder = record(machine)
    same(recorder.film, machine)
    assert recorder.film.events == machine.trace.events


def test_a_recorder_stops() -> None:
    machine = spinning()
    recorder = record(machine)
    machine.run(100)
    count = recorder.stop().count
    machine.run(100)
    assert recorder.film.count == count
    assert machine.onlookers == []
    recorder.stop()


def test_a_platform_reset_concerns_every_cpu() -> None:
    machine, _ = long_mode("outb %al, $0x80\nmovb $6, %al\nmovw $0xcf9, %dx\noutb %al, %dx\nhlt\ncpu1: hlt", cpus=2)
    recorder = record(machine)
    machine.run()
    same(recorder.film, machine)


def test_console_bytes_stop_no_run(recorded: tuple[Machine, Host, Recorder]) -> None:
    """Each character has its look, too."""
    film = recorded[2].film
    looked = {look.event for look in film.looks}
    characters = [event.seq for event in recorded[0].trace.of(ConsoleByte)]
    assert len(looked.intersection(characters)) > len(characters) / 2


def test_looks_put_in_later_are_those_of_a_finer_film() -> None:
    """Against a film that looked after each instruction; in any order, and what was recorded before stays as it was."""
    pieces = [["movl $0xc4041, 0x300(%rbx)", "lock incl 0xe000"], ["pushq $5; popq %rax", "incq 0xe008"]]
    machines = [guest(pieces, RoundRobin(37)) for _ in range(2)]
    recorders = [record(machines[0], every="instruction"), record(machines[1])]
    timeline = Timeline(machines[1])
    for one in machines:
        one.run(300)
    fine, film, recorder = recorders[0].stop(), recorders[1].film, recorders[1]
    looks, chance = len(film.looks), random.Random(5)
    for time in chance.sample(range(1, film.looks[-1].time), 100):
        timeline.seek_time(time)
        if film.looks[film.look_at_time(time)].time < time == machines[1].time:
            assert recorder.look_between(timeline.position - 1) in film.looks
            looks += 1
    assert [look.number for look in film.looks] == list(range(looks))
    for look in film.looks:
        there = [one.number for one in fine.looks if one.time == look.time and one.event == look.event]
        frame, expected = film.frame_of(look.number), fine.frame_of(there[-1])
        for cpu in range(2):
            assert frame.registers(cpu) == expected.registers(cpu)
            assert frame.apic(cpu) == expected.apic(cpu)
            assert frame.where(cpu) == expected.where(cpu)
            assert frame.code(cpu)[:1] == expected.code(cpu)[:1]
        for page in {*film.contents.last, *fine.contents.last}:
            assert frame.read(page, PAGE) == expected.read(page, PAGE)
    finer = {((one.time, one.event), (two.time, two.event)): two for one, two in pairwise(fine.looks)}
    compared = 0
    for before, look in pairwise(film.looks):
        known = finer.get(((before.time, before.event), (look.time, look.event)))
        if known:  # nothing was seen between the two in either film
            cpu = look.cpu or 0
            assert (look.cpu, look.owner) == (known.cpu, known.owner)
            assert film.registers[cpu].changed(look.number) == fine.registers[cpu].changed(known.number)
            assert film.contents.writes(look.number) == fine.contents.writes(known.number)
            compared += 1
    assert compared >= 10
    assert list(Film.from_bytes(film.to_bytes()).contents.runs()) == list(film.contents.runs())
    timeline.seek_time(film.looks[3].time)
    with pytest.raises(ValueError, match="time must lie between those of two looks, not"):
        recorder.look_between(film.looks[3].event)
