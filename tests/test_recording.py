"""Recordings of hand-made traces: spans, IPIs, consoles, and any moment of the past."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab import trace
from mklab.recording import Moment, Recording, Slot
from mklab.trace import Trace

SLOT = {"slot": 0x1FF8110, "sender": 0, "type": 1, "size": 4, "payload": b"ping".hex()}


def record(*events: tuple[Any, ...], cpus: int = 3) -> Recording:
    """A recording of events given as ``(kind, time, cpu, fields)``."""
    made = Trace()
    for kind, time, cpu, fields in events:
        made.emit(kind, time, cpu, **fields)
    recording = Recording(list(range(cpus)))
    recording.extend(made)
    return recording


def sent(time: int, cpu: int, targets: list[int], **fields: Any) -> tuple[Any, ...]:
    values = {"vector": 0xEA, "delivery": "fixed", "shorthand": "none", "level": True, "targets": targets, **fields}
    return (trace.IpiSent, time, cpu, values)


def message(time: int, cpu: int, target: int, **fields: Any) -> tuple[Any, ...]:
    return (trace.Message, time, cpu, {"to_cpu": target, "vector": 0xEA, **SLOT, **fields})


def accepted(time: int, cpu: int, sender: int, merged: bool = False) -> tuple[Any, ...]:
    return (trace.Accepted, time, cpu, {"from_cpu": sender, "vector": 0xEA, "merged": merged})


def delivered(time: int, cpu: int, source: str = "interrupt", vector: int = 0xEA) -> tuple[Any, ...]:
    return (trace.Delivered, time, cpu, {"vector": vector, "source": source, "rip": 0, "handler": 0})


def taken(time: int, cpu: int, **fields: Any) -> tuple[Any, ...]:
    return (trace.MessageTaken, time, cpu, {**SLOT, **fields})


def test_at_power_on_every_cpu_waits_and_is_nobodys() -> None:
    now = Recording([0, 5]).cpus
    assert [(span.owner, span.mode, span.state, span.planned) for span in now] == [
        (None, "real", "wait-for-SIPI", None)
    ] * 2
    assert now[0].start == Moment(-1, 0)


@pytest.mark.parametrize("apic_ids", [[], [1, 1]])
def test_ids_that_no_machine_has(apic_ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"apic_ids must be one or more different numbers, not \["):
        Recording(apic_ids)


def test_a_cpu_goes_through_its_states() -> None:
    patch = {"name": "patch_registers", "args": {"cpu": 1, "running": True}}
    recording = record(
        (trace.Input, 0, None, patch),
        (trace.ModeChange, 1, 1, {"mode": "long"}),
        (trace.OwnerChange, 2, 1, {"owner": "host", "planned": "host", "address": 0x1000}),
        (trace.Halted, 3, 1, {"interruptible": True}),
        (trace.Woken, 4, 1, {"vector": 0xEA}),
        (trace.Planned, 5, 1, {"owner": "kernel 1"}),
        (trace.Init, 6, 1, {"from_cpu": None}),
        (trace.OwnerChange, 6, 1, {"owner": None, "planned": "kernel 1", "address": 0}),
        (trace.ModeChange, 6, 1, {"mode": "real"}),
        (trace.Sipi, 7, 1, {"from_cpu": None, "vector": 0x96}),
        (trace.Shutdown, 8, 1, {"why": "triple fault"}),
    )
    told = [(span.start.time, span.owner, span.mode, span.state, span.planned) for span in recording.spans[1]]
    assert told == [
        (0, None, "real", "wait-for-SIPI", None),
        (0, None, "real", "running", None),
        (1, None, "long", "running", None),
        (2, "host", "long", "running", None),
        (3, "host", "long", "halted", None),
        (4, "host", "long", "running", None),
        (5, "host", "long", "running", "kernel 1"),
        (6, "host", "long", "wait-for-SIPI", "kernel 1"),
        (6, None, "long", "wait-for-SIPI", "kernel 1"),
        (6, None, "real", "wait-for-SIPI", "kernel 1"),
        (7, None, "real", "running", "kernel 1"),
        (8, None, "real", "shut down", "kernel 1"),
    ]
    assert [span.end for span in recording.spans[1]] == [span.start for span in recording.spans[1][1:]] + [None]
    assert len(recording.spans[0]) == 1


def test_registers_patched_without_a_start_leave_the_state() -> None:
    recording = record((trace.Input, 0, None, {"name": "patch_registers", "args": {"cpu": 1, "running": False}}))
    assert recording.cpus[1].state == "wait-for-SIPI"


def test_init_restarts_the_bsp_and_parks_the_others() -> None:
    recording = record((trace.Init, 0, 0, {"from_cpu": None}), (trace.Init, 0, 1, {"from_cpu": None}))
    assert [span.state for span in recording.cpus] == ["running", "wait-for-SIPI", "wait-for-SIPI"]


@pytest.mark.parametrize(("source", "state"), [("interrupt", "running"), ("nmi", "running"), ("exception", "halted")])
def test_what_is_delivered_wakes_a_cpu(source: str, state: str) -> None:
    recording = record((trace.Halted, 0, 1, {"interruptible": True}), delivered(1, 1, source))
    assert recording.cpus[1].state == state


def test_a_platform_reset_takes_every_cpu_from_its_owner() -> None:
    recording = record(
        (trace.OwnerChange, 0, 1, {"owner": "host", "planned": None, "address": 1}),
        (trace.ModeChange, 0, 2, {"mode": "long"}),
        sent(1, 0, [1]),
        accepted(1, 1, 0),
        (trace.PlatformReset, 2, 0, {"why": "CPU 0 shut down"}),
    )
    assert {(span.owner, span.mode, span.state) for span in recording.cpus} == {(None, "real", "wait-for-SIPI")}
    assert [(one.kind, one.text) for one in recording.incidents] == [
        ("reset", "the platform was reset: CPU 0 shut down")
    ]
    assert recording.ipis[0].lost == Moment(4, 2)
    assert recording.ipis[0].why == "the platform was reset"


def test_an_owner_against_the_plan_is_an_incident() -> None:
    change = {"owner": "kernel 1", "planned": "kernel 2", "address": 0x2000000}
    recording = record((trace.Planned, 0, 1, {"owner": "kernel 2"}), (trace.OwnerChange, 1, 1, change))
    assert recording.cpus[1].against_plan
    assert [(one.at, one.cpu, one.kind, one.text) for one in recording.incidents] == [
        (Moment(1, 1), 1, "against plan", "CPU 1, planned for kernel 2, entered kernel 1 at 0x2000000")
    ]


def test_a_fault_is_an_incident_with_its_error_code() -> None:
    fault = {"vector": 14, "error": 2, "rip": 0x40, "cr2": 0}
    recording = record((trace.Fault, 1, 1, fault), (trace.Fault, 2, 1, {**fault, "vector": 3, "error": None}))
    assert [one.text for one in recording.incidents] == [
        "CPU 1 raised exception 14, error code 0x2 at 0x40",
        "CPU 1 raised exception 3 at 0x40",
    ]


def test_a_message_is_followed_to_its_eoi() -> None:
    recording = record(
        sent(10, 0, [1]),
        message(10, 0, 1),
        accepted(10, 1, 0),
        delivered(12, 1),
        taken(12, 1),
        (trace.Eoi, 15, 1, {"vector": 0xEA}),
    )
    (ipi,) = recording.messages
    slot = Slot(0x1FF8110, 0, 1, 4, b"ping".hex())
    assert (ipi.sender, ipi.target, ipi.slot, ipi.read) == (0, 1, slot, slot)
    assert (ipi.sent, ipi.slot_seen, ipi.accepted) == (Moment(0, 10), Moment(1, 10), Moment(2, 10))
    assert (ipi.delivered, ipi.taken, ipi.eoi) == (Moment(3, 12), Moment(4, 12), Moment(5, 15))
    assert (ipi.merged, ipi.lost, ipi.ignored, ipi.overwritten, ipi.why) == (False, None, None, None, "")
    assert ipi.settled


def test_two_messages_and_one_interrupt() -> None:
    recording = record(
        sent(1, 0, [1]),
        message(1, 0, 1),
        accepted(1, 1, 0),
        sent(2, 2, [1]),
        message(2, 2, 1, sender=2),
        accepted(2, 1, 2, merged=True),
        delivered(3, 1),
        taken(3, 1, sender=2),
        (trace.Eoi, 4, 1, {"vector": 0xEA}),
    )
    first, second = recording.messages
    assert (first.merged, second.merged) == (False, True)
    assert first.overwritten == Moment(4, 2)
    assert first.taken is None
    assert second.overwritten is None
    assert (second.taken, second.read) == (Moment(7, 3), second.slot)
    assert first.delivered == second.delivered == Moment(6, 3)
    assert first.eoi == second.eoi == Moment(8, 4)


def test_a_message_that_was_read_is_not_overwritten_by_the_next() -> None:
    recording = record(
        *(sent(1, 0, [1]), message(1, 0, 1), accepted(1, 1, 0), delivered(2, 1), taken(2, 1)),
        *(sent(3, 0, [1]), message(3, 0, 1), accepted(3, 1, 0)),
    )
    assert [ipi.overwritten for ipi in recording.messages] == [None, None]


def test_each_of_several_targets_has_its_own_fate() -> None:
    recording = record(
        sent(1, 0, [1, 2], shorthand="all-but-self"),
        accepted(1, 1, 0),
        (trace.Lost, 1, 2, {"from_cpu": 0, "vector": 0xEA, "why": "its APIC is disabled"}),
    )
    assert [(ipi.target, ipi.accepted, ipi.lost, ipi.why) for ipi in recording.ipis] == [
        (1, Moment(1, 1), None, ""),
        (2, None, Moment(2, 1), "its APIC is disabled"),
    ]


def test_an_ipi_to_nobody_is_lost() -> None:
    recording = record(sent(1, 0, []), (trace.Lost, 1, None, {"from_cpu": 0, "vector": 0xEA, "why": "no such id"}))
    assert [(ipi.target, ipi.lost, ipi.why) for ipi in recording.ipis] == [(None, Moment(1, 1), "no such id")]


def test_init_and_sipis() -> None:
    recording = record(
        sent(1, 0, [1], delivery="init", vector=0),
        (trace.Init, 1, 1, {"from_cpu": 0}),
        sent(2, 0, [1], delivery="sipi", vector=0x96),
        (trace.Sipi, 2, 1, {"from_cpu": 0, "vector": 0x96}),
        sent(3, 0, [1], delivery="sipi", vector=0x96),
        (trace.Ignored, 3, 1, {"from_cpu": 0, "what": "SIPI 0x96", "why": "it runs"}),
    )
    init, first, second = recording.ipis
    assert init.accepted == Moment(1, 1)
    assert first.accepted == Moment(3, 2)
    assert (second.accepted, second.ignored, second.why) == (None, Moment(5, 3), "it runs")
    assert recording.messages == []
    assert recording.cpus[1].state == "running"


def test_init_loses_what_is_pending_in_the_local_apic() -> None:
    recording = record(
        *(sent(1, 0, [1]), accepted(1, 1, 0)),
        *(sent(2, 0, [1], delivery="init", vector=0), (trace.Init, 2, 1, {"from_cpu": 0})),
        delivered(3, 1),
    )
    message_ipi, init = recording.ipis
    assert (message_ipi.lost, message_ipi.why) == (Moment(3, 2), "INIT reset the local APIC of CPU 1")
    assert message_ipi.delivered is None
    assert init.lost is None


def test_init_leaves_what_was_delivered_before() -> None:
    recording = record(
        *(sent(1, 0, [1]), message(1, 0, 1), accepted(1, 1, 0), delivered(2, 1), taken(2, 1)),
        *(sent(3, 0, [1], delivery="init", vector=0), (trace.Init, 3, 1, {"from_cpu": 0})),
    )
    assert recording.messages[0].lost is None


def test_consoles_hold_bytes_and_lines_of_the_log() -> None:
    recording = record(
        *((trace.ConsoleByte, 5, 0, {"kernel": "host", "byte": byte}) for byte in b"up"),
        (trace.Printk, 7, 0, {"kernel": "host", "text": "Loading"}),
        *((trace.ConsoleByte, 9, 1, {"kernel": None, "byte": byte}) for byte in b"?\xff"),
    )
    assert recording.consoles["host"].text == "up\nLoading\n"
    assert list(recording.lines("host")) == [(5, "up"), (7, "Loading")]
    assert recording.consoles["nobody"].text == "?\ufffd"
    assert list(recording.lines("kernel 1")) == []


def test_a_gap_in_the_events_is_refused() -> None:
    recording = Recording([0])
    with pytest.raises(ValueError, match=r"the next event must be number 0, not 1"):
        recording.extend([trace.Printk(1, 0, 0, "host", "")])
    recording.extend([trace.Printk(0, 9, 0, "host", "")])
    with pytest.raises(ValueError, match=r"event 1 must be at 9 instructions or later, not 8"):
        recording.extend([trace.Printk(1, 8, 0, "host", "")])


def test_moments_that_are_not_there() -> None:
    recording = record((trace.Printk, 0, 0, {"kernel": "host", "text": ""}))
    with pytest.raises(ValueError, match=r"event must be -1 to 0, not 1"):
        recording.upto(1)
    with pytest.raises(ValueError, match=r"cpu must be 0 to 2, not 3"):
        recording.span_at(3, 0)


def test_the_event_at_a_time() -> None:
    lines = [(trace.Printk, time, 0, {"kernel": "host", "text": ""}) for time in (3, 5, 5, 8)]
    recording = record(*lines)
    assert [recording.event_at(time) for time in (0, 3, 4, 5, 9)] == [-1, 0, 0, 2, 3]


def test_what_is_not_a_recording_is_refused() -> None:
    with pytest.raises(ValueError, match=r"text must be a recording of format mklab-recording-1, not"):
        Recording.from_json('{"format": "another"}')


# Any trace at all, also one that no machine would make: seeking must agree with replaying.

_CPU = st.integers(0, 1)
_OWNER = st.sampled_from([None, "host", "kernel 1"])
_VECTOR = st.sampled_from([0xEA, 0xFD])
_SLOTS = {
    "slot": st.sampled_from([0x1000, 0x1110]),
    "sender": _CPU,
    "type": st.integers(1, 2),
    "size": st.just(1),
    "payload": st.sampled_from(["61", "62"]),
}


def _fields(**values: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(values)


_EVENTS = {
    trace.Planned: _fields(owner=_OWNER),
    trace.OwnerChange: _fields(owner=_OWNER, planned=_OWNER, address=st.just(1)),
    trace.ModeChange: _fields(mode=st.sampled_from(["real", "protected", "long"])),
    trace.IpiSent: _fields(
        vector=_VECTOR,
        delivery=st.sampled_from(["fixed", "init", "sipi", "nmi"]),
        shorthand=st.just("none"),
        level=st.booleans(),
        targets=st.lists(_CPU, unique=True),
    ),
    trace.Init: _fields(from_cpu=_CPU),
    trace.Sipi: _fields(from_cpu=_CPU, vector=st.just(0x96)),
    trace.Ignored: _fields(from_cpu=_CPU, what=st.just("SIPI"), why=st.just("it runs")),
    trace.Accepted: _fields(from_cpu=_CPU, vector=_VECTOR, merged=st.booleans()),
    trace.Lost: _fields(from_cpu=_CPU, vector=_VECTOR, why=st.just("disabled")),
    trace.Delivered: _fields(
        vector=_VECTOR, source=st.sampled_from(["interrupt", "exception"]), rip=st.just(0), handler=st.just(0)
    ),
    trace.Eoi: _fields(vector=_VECTOR),
    trace.Halted: _fields(interruptible=st.booleans()),
    trace.Shutdown: _fields(why=st.just("triple fault")),
    trace.PlatformReset: _fields(why=st.just("why")),
    trace.ConsoleByte: _fields(kernel=_OWNER, byte=st.integers(0, 255)),
    trace.Printk: _fields(kernel=st.just("host"), text=st.sampled_from(["", "a line"])),
    trace.Message: _fields(to_cpu=_CPU, vector=st.just(0xEA), **_SLOTS),
    trace.MessageTaken: _fields(**_SLOTS),
}


@st.composite
def traces(draw: st.DrawFn) -> list[trace.Event]:
    """Events of every kind that a recording looks at."""
    made, time = Trace(), 0
    for kind in draw(st.lists(st.sampled_from(list(_EVENTS)), max_size=40)):
        time += draw(st.integers(0, 2))
        made.emit(kind, time, draw(_CPU), **draw(_EVENTS[kind]))
    return made.events


@given(traces(), st.data())
def test_any_moment_is_what_a_replay_gives_and_goes_on_from_there(
    events: list[trace.Event], data: st.DataObject
) -> None:
    whole = Recording([0, 1])
    whole.extend(events)
    event = data.draw(st.integers(-1, len(events) - 1))
    replayed = Recording([0, 1])
    replayed.extend(events[: event + 1])
    past = whole.upto(event)
    assert past == replayed
    assert [whole.span_at(cpu, event).state for cpu in range(2)] == [span.state for span in replayed.cpus]
    past.extend(events[event + 1 :])
    assert past == whole


@given(traces())
def test_json_gives_the_recording_back(events: list[trace.Event]) -> None:
    recording = Recording([0, 1])
    recording.extend(events)
    assert Recording.from_json(recording.to_json()) == recording


@given(traces())
def test_spans_cover_a_cpus_history_without_gaps(events: list[trace.Event]) -> None:
    recording = Recording([0, 1])
    recording.extend(events)
    for spans in recording.spans:
        assert [span.end for span in spans] == [span.start for span in spans[1:]] + [None]
        assert all(one.start.event < other.start.event for one, other in pairwise(spans))
