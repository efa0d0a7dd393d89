"""Events and their digest."""

import copy
import hashlib
import json
import pickle
import re
from dataclasses import FrozenInstanceError, fields, make_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.trace import Accepted, ConsoleByte, Event, Init, Input, IpiSent, OwnerChange, Trace
from mklab.trace.rows import events_of, kinds_of, rows_of

BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(0, 2**64 - 1),
    "int | None": st.none() | st.integers(0, 63),
    "str": st.text(max_size=20),
    "str | None": st.none() | st.text(max_size=20),
    "bool": st.booleans(),
    "list[int]": st.lists(st.integers(0, 63), max_size=4),
    "dict[str, Any]": st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
}


def type_name(kind: Any) -> str:
    return (
        kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind).replace("typing.", "")
    )


def events(kind: type[Event]) -> st.SearchStrategy[dict[str, Any]]:
    """Values of the fields of ``kind`` after ``seq``."""
    return st.fixed_dictionaries(
        {field.name: BY_TYPE[type_name(field.type)] for field in fields(kind) if field.name != "seq"}
    )


ANY_EVENT = st.sampled_from(sorted(Event.kinds)).flatmap(
    lambda name: st.tuples(st.just(Event.kinds[name]), events(Event.kinds[name]))
)


def filled() -> Trace:
    trace = Trace()
    trace.emit(Init, 10, 1, from_cpu=0)
    trace.emit(ConsoleByte, 12, 1, kernel="kernel 1", byte=65)
    return trace


@given(st.lists(ANY_EVENT, max_size=8), st.binary(max_size=30))
def test_json_keeps_everything(items: list[tuple[type[Event], dict[str, Any]]], blob: bytes) -> None:
    trace = Trace()
    for kind, values in items:
        trace.emit(kind, values.pop("time"), values.pop("cpu"), **values)
    trace.keep(blob)
    again = Trace.from_json(trace.to_json())
    assert again.events == trace.events
    assert [type(event) for event in again] == [type(event) for event in trace]
    assert (again.sha256, again.count, again.blobs) == (trace.sha256, trace.count, trace.blobs)


@given(st.lists(ANY_EVENT, max_size=8), st.integers(0, 1 << 40))
def test_rows_keep_everything(items: list[tuple[type[Event], dict[str, Any]]], first: int) -> None:
    trace = Trace()
    trace.count = first
    for kind, values in items:
        trace.emit(kind, values.pop("time"), values.pop("cpu"), **values)
    kinds = kinds_of(trace.events)
    rows = json.loads(json.dumps(list(rows_of(trace.events, kinds))))
    again = list(events_of(json.loads(json.dumps(kinds)), rows, first))
    assert again == trace.events
    assert [type(event) for event in again] == [type(event) for event in trace]


@pytest.mark.parametrize("change", [{"vector": "234"}, {"merged": None}, {"time": 1.5}, {"from_cpu": []}])
def test_rows_of_other_types_are_refused(change: dict[str, Any]) -> None:
    values: dict[str, Any] = {"time": 5, "cpu": 1, "from_cpu": 0, "vector": 0xEA, "merged": False}
    kinds = [["Accepted", list(values)]]
    assert list(events_of(kinds, [[0, *values.values()]], 3)) == [Accepted(3, **values)]
    with pytest.raises(ValueError, match="the values of event 3 must be those of Accepted, not"):
        list(events_of(kinds, [[0, *(values | change).values()]], 3))
    with pytest.raises(ValueError, match="Accepted must have the fields"):
        list(events_of([["Accepted", [*values, "more"]]], [], 0))


def test_the_digest_is_a_chain_over_every_event() -> None:
    """Computed here from the description in the module."""
    digest = hashlib.sha256(b"mklab-trace-1").hexdigest()
    for event in (
        {"kind": "Init", "seq": 0, "time": 10, "cpu": 1, "from_cpu": 0},
        {"kind": "ConsoleByte", "seq": 1, "time": 12, "cpu": 1, "kernel": "kernel 1", "byte": 65},
    ):
        digest = hashlib.sha256(
            (digest + json.dumps(event, sort_keys=True, separators=(",", ":"))).encode()
        ).hexdigest()
    assert filled().sha256 == digest


@pytest.mark.parametrize("field", ["time", "cpu", "vector", "merged", "from_cpu"])
def test_every_field_counts(field: str) -> None:
    values: dict[str, Any] = {"time": 5, "cpu": 1, "vector": 0xEA, "merged": False, "from_cpu": 0}
    changed = values | {field: 7}
    digests = set()
    for one in (values, changed):
        trace = Trace()
        trace.append(Accepted(0, **one))
        digests.add(trace.sha256)
    assert len(digests) == 2


def test_order_counts() -> None:
    digests = set()
    for cpus in ((0, 1), (1, 0)):
        trace = Trace()
        for cpu in cpus:
            trace.emit(Init, 0, cpu, from_cpu=None)
        digests.add(trace.sha256)
    assert len(digests) == 2


def test_a_restored_trace_goes_on() -> None:
    whole, later = filled(), Trace()
    later.restore(json.loads(json.dumps(whole.state())))
    assert (len(later), later.count) == (0, 2)
    for trace in (whole, later):
        trace.emit(Init, 20, 2, from_cpu=0)
    assert later.sha256 == whole.sha256
    assert later.events == whole.events[2:]


def test_what_can_be_asked_of_it() -> None:
    trace = filled()
    assert [event.seq for event in trace] == [0, 1]
    assert len(trace) == 2
    assert trace.of(ConsoleByte) == [ConsoleByte(1, 12, 1, "kernel 1", 65)]
    assert trace.of(IpiSent) == []
    assert trace.of(Init)[0].to_dict() == {"kind": "Init", "seq": 0, "time": 10, "cpu": 1, "from_cpu": 0}


def test_bytes_are_kept_by_their_hash() -> None:
    trace = Trace()
    said = trace.keep(b"patch")
    assert said == {"sha256": hashlib.sha256(b"patch").hexdigest(), "size": 5}
    assert trace.blobs == {said["sha256"]: b"patch"}


@pytest.mark.parametrize(
    ("owner", "planned", "against"),
    [("host", "host", False), ("host", "kernel 1", True), (None, "host", False), ("host", None, False)],
)
def test_an_owner_against_the_plan(owner: str | None, planned: str | None, against: bool) -> None:
    assert OwnerChange(0, 0, 1, owner, planned, 0x1000).against_plan is against


def test_a_number_that_does_not_follow_is_refused() -> None:
    trace = filled()
    with pytest.raises(ValueError, match=r"^seq must be 2, not 3$"):
        trace.append(Init(3, 0, 0, None))
    assert trace.count == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "Nothing"}, "kind must name an event, not 'Nothing'"),
        ({"seq": 0}, "kind must name an event, not None"),
        ({"kind": ["Init"]}, "kind must name an event, not ['Init']"),
        (
            {"kind": "Init", "seq": 0, "time": 0, "cpu": 1},
            "Init must have the fields ['cpu', 'from_cpu', 'seq', 'time'], not ['cpu', 'seq', 'time']",
        ),
    ],
)
def test_other_data_is_no_event(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Event.from_dict(data)


def test_a_forged_trace_is_refused() -> None:
    text = filled().to_json().replace('"byte": 65', '"byte": 66')
    with pytest.raises(ValueError, match=r"^the events must have the digest \w{64}, not '\w{64}'$"):
        Trace.from_json(text)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', '{"format": "mklab-trace-1"}'])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"format|Expecting|mklab-trace-1"):
        Trace.from_json(text)


@given(ANY_EVENT, st.integers(0, 9))
def test_an_event_is_like_a_frozen_dataclass(item: tuple[type[Event], dict[str, Any]], seq: int) -> None:
    kind, values = item
    names = [field.name for field in fields(kind)]
    plain: Any = make_dataclass(kind.__name__, names, frozen=True, slots=True)
    event, model = kind(seq, **values), plain(seq, **values)
    same = kind(seq, *(values[name] for name in names[1:]))
    assert type(event) is kind
    assert repr(event) == repr(model)
    assert event == same
    assert event != replace(event, seq=seq + 1)
    assert event != model
    if kind not in (Input, IpiSent):
        assert hash(event) == hash(same) == hash(model)
    for again in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert again == event
        assert type(again) is kind


def test_an_event_never_changes() -> None:
    event = filled().events[0]
    for name in ("time", "from_cpu", "anything"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(event, name, 1)
        with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(event, name)
    assert event == Init(0, 10, 1, 0)


def test_an_event_has_all_its_fields() -> None:
    with pytest.raises(TypeError, match=r"Init.__init__\(\) missing 1 required positional argument: 'from_cpu'"):
        Init(0, 10, 1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'byte'"):
        Init(0, 10, 1, 0, byte=1)  # type: ignore[call-arg]
