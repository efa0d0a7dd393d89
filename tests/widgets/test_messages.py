"""What the message flow says of each IPI: exact words, at every moment."""

from collections.abc import Callable
from typing import Any

import pytest

from mklab.recording import Film
from mklab.trace import Accepted, Delivered, Eoi, Event, Ignored, Init, IpiSent, Lost, Message, MessageTaken
from mklab.widgets import messages
from mklab.widgets.flow import Flow
from mklab.widgets.messages import Row
from mklab.widgets.view import View

TWIN = """\
INIT                    CPU 0 -> CPU 2    sent e14, t=2,000. CPU 2 goes to wait-for-SIPI; it belongs to nobody.
INIT level de-assert    CPU 0 -> CPU 2    sent e16, t=2,000. Ignored. CPUs since the Pentium 4 ignore it.
SIPI 0x96               CPU 0 -> CPU 2    sent e18, t=2,100. CPU 2 starts in real mode at 0x96000.
SIPI 0x96               CPU 0 -> CPU 2    sent e21, t=3,100. Ignored. CPU 2 is not in wait-for-SIPI.
m1                      CPU 0 -> CPU 2    type 1  4 B  sent e38, t=10,000. Accepted: IRR bit 0xEA set. \
Delivered e42, t=10,000. Read e43. EOI e44.
                        70 69 6e 67  "ping"
m2                      CPU 0 -> CPU 2    type 1  3 B  sent e45, t=12,000. Accepted: IRR bit 0xEA set. \
Delivered e51, t=12,900. OVERWRITTEN e49. EOI e53.
                        6f 6e 65  "one"
m3                      CPU 0 -> CPU 2    type 2  3 B  sent e48, t=12,400. \
It OVERWRITES m2, unread: one slot, no full flag. Merged. \
IRR bit 0xEA was set already: two IPIs, one interrupt. Delivered e51, t=12,900. Read e52. EOI e53.
                        74 77 6f  "two"
m4                      CPU 2 -> CPU 3    type 1  5 B  sent e54, t=13,500. LOST. \
The local APIC of CPU 3, which waits for a SIPI, is software-disabled (SVR=0xff). \
Its bytes stay in the slot, unread.
                        6c 6f 73 74 3f  "lost?"
SIPI 0x96               CPU 0 -> CPU 3    sent e58, t=14,000. CPU 3 starts in real mode at 0x96000."""

SLOT = 0x1000


def sent(time: int, sender: int, targets: list[int], vector: int = 0xEA, **more: Any) -> tuple[Any, ...]:
    values = {"vector": vector, "delivery": "fixed", "shorthand": "none", "level": True, "targets": targets, **more}
    return (IpiSent, time, sender, values)


def message(time: int, sender: int, target: int, payload: str) -> tuple[Any, ...]:
    slot = {"slot": SLOT * target, "sender": sender, "type": 1, "size": len(payload), "payload": payload.encode().hex()}
    return (Message, time, sender, {"to_cpu": target, "vector": 0xEA, **slot})


def taken(time: int, cpu: int, payload: str) -> tuple[Any, ...]:
    slot = {"slot": SLOT * cpu, "sender": 0, "type": 1, "size": len(payload), "payload": payload.encode().hex()}
    return (MessageTaken, time, cpu, slot)


def accepted(time: int, cpu: int, vector: int = 0xEA, *, merged: bool = False) -> tuple[Any, ...]:
    return (Accepted, time, cpu, {"from_cpu": 0, "vector": vector, "merged": merged})


def delivered(time: int, cpu: int, vector: int = 0xEA) -> tuple[Any, ...]:
    return (Delivered, time, cpu, {"vector": vector, "source": "interrupt", "rip": 0x10, "handler": 0x20})


def rows(film: Film, event: int | None = None) -> list[Row]:
    view = View.at_end(film) if event is None else View.at_event(film, event)
    flow = Flow.of(film)
    return [messages.row(view, entry) for entry in flow.entries[: flow.upto(view.event)]]


def test_the_twin_says_all_of_it(told_film: Film) -> None:
    assert messages.tell(View.at_end(told_film)) == TWIN


def test_the_answer_names_those_in_trouble(told_film: Film) -> None:
    assert messages.answer(View.at_end(told_film)) == "m1 delivered; m3 merged; m2 overwritten; m4 lost."
    assert messages.answer(View.at_event(told_film, 40)) == "m1 on its way."
    assert messages.answer(View.at_event(told_film, 20)) == "No message has been sent yet. 3 other IPIs so far."
    assert messages.answer(View.at_event(told_film, -1)) == "No message has been sent yet."


def test_a_moment_tells_nothing_of_what_comes_later(told_film: Film, events: list[Event]) -> None:
    """A film that ends at a moment says the same as one that goes on: the index is another one each time."""
    for event in range(-1, told_film.count):
        shorter = Film([0, 1, 2, 3])
        shorter.extend(events[: event + 1])
        view, last = View.at_event(told_film, event), View.at_end(shorter)
        assert messages.tell(view) == messages.tell(last)
        assert messages.answer(view) == messages.answer(last)
        longer = [(row.head, row.detail, row.trouble) for row in rows(told_film, event)]
        found = [(row.head, row.detail, row.trouble) for row in rows(shorter)]
        # An EOI that is still to come has no number yet, in either.
        assert longer == found


def test_an_ipi_is_as_it_stood_at_the_moment(told_film: Film, events: list[Event]) -> None:
    growing = Film([0, 1, 2, 3])
    for event in [None, *events]:
        growing.extend([event] if event else [])
        for film in (growing, told_film):
            flow = Flow.of(film)
            for place, ipi in enumerate(film.recording.ipis):
                for moment in range(-1, film.count):
                    assert flow.at(place, moment) == ipi.upto(moment)


def test_a_film_that_grows_or_is_cut_is_followed(told_film: Film, events: list[Event]) -> None:
    growing = Film([0, 1, 2, 3])
    for event in events:
        growing.extend([event])
        Flow.of(growing)
    assert Flow.of(growing).entries == Flow.of(told_film).entries
    growing.cut(44)
    assert [row.names for row in rows(growing)][-2:] == [["m1"], ["m1"]]
    growing.extend(events[45:])
    assert messages.tell(View.at_end(growing)) == TWIN
    # What follows a cut may be something else.
    growing.cut(44)
    kind, time, cpu, values = sent(12_000, 1, [3], 0xFD)
    growing.extend([kind(45, time, cpu, **values)])
    assert [row.head for row in rows(growing)][-1] == "IPI 0xFD (reschedule) to CPU 3"


def test_rows_tell_trouble_and_why(told_film: Film) -> None:
    trouble = [row for row in rows(told_film) if row.trouble]
    assert [(row.head, row.names) for row in trouble] == [
        ("m3 to CPU 2, merged; m2 overwritten", ["m3"]),
        ("one interrupt, for m2 and m3", ["m2", "m3"]),
        ("m4 to CPU 3, lost", ["m4"]),
    ]
    assert "One slot, no full flag: CPU 0 stored before m2 was read." in trouble[0].detail
    assert "Of m2 nothing is left. m3 read." in trouble[1].detail
    assert "software-disabled (SVR=0xff). Its bytes stay in the slot, unread." in trouble[2].detail


def test_a_row_knows_its_events(told_film: Film) -> None:
    found = {row.entry.event: row.events for row in rows(told_film)}
    # IpiSent, Message, Accepted; Delivered, MessageTaken, Eoi.
    assert found[38] == {38, 39, 40}
    assert found[42] == {42, 43, 44}
    flow = Flow.of(told_film)
    assert flow.entries[flow.entry_of(43) or 0].event == 42
    assert flow.entry_of(41) is None


def test_other_bytes_than_were_sent_are_torn(written: Callable[..., Film]) -> None:
    acts = [sent(1, 0, [2]), message(1, 0, 2, "AAAA"), accepted(1, 2), delivered(5, 2), taken(5, 2, "BBAA")]
    film = written(*acts)
    assert messages.answer(View.at_end(film)) == "m1 torn."
    (row,) = [row for row in rows(film) if row.trouble]
    assert "m1 is TORN: other bytes than were sent" in row.detail
    assert 'Read TORN e4.\n                        41 41 41 41  "AAAA"\n' in messages.tell(View.at_end(film))


def test_a_pending_message_that_init_takes_away_is_lost(written: Callable[..., Film]) -> None:
    init = sent(3, 0, [2], 0, delivery="init")
    film = written(sent(1, 0, [2]), message(1, 0, 2, "hi"), accepted(1, 2), init, (Init, 3, 2, {"from_cpu": 0}))
    assert [row.head for row in rows(film)] == ["m1 to CPU 2, accepted", "INIT to CPU 2", "m1 lost while pending"]
    assert rows(film)[2].detail == "INIT reset the local APIC of CPU 2. Its bytes stay in the slot, unread."
    assert messages.answer(View.at_event(film, 3)) == "m1 on its way."
    assert messages.answer(View.at_end(film)) == "m1 lost."


def test_what_one_write_of_the_icr_sends_is_one_row(written: Callable[..., Film]) -> None:
    targets = [1, 2, 3]
    sipi = sent(2, 0, targets, 0x96, delivery="sipi")
    ignored = [
        (Ignored, 2, cpu, {"from_cpu": 0, "what": "SIPI 0x96", "why": f"CPU {cpu} is not in wait-for-SIPI"})
        for cpu in targets
    ]
    (row,) = rows(written(sipi, *ignored))
    assert (row.head, row.detail) == ("SIPI 0x96 to CPUs 1 to 3, ignored", "Each is not in wait-for-SIPI.")
    lost = (Lost, 2, 2, {"from_cpu": 0, "vector": 0x40, "why": "the local APIC of CPU 2 is software-disabled"})
    (row,) = rows(written(sent(2, 0, [1, 2], 0x40), accepted(2, 1, 0x40), lost))
    assert row.head == "IPI 0x40 to CPUs 1 and 2"
    assert row.detail == ("CPU 1 accepted: IRR bit 0x40 set. CPU 2 lost: The local APIC of each is software-disabled.")
    assert row.trouble


def test_an_eoi_after_something_else_has_its_own_row(written: Callable[..., Film]) -> None:
    begun = [sent(1, 0, [2], 0xFD), accepted(1, 2, 0xFD), delivered(2, 2, 0xFD)]
    eoi = (Eoi, 9, 2, {"vector": 0xFD})
    assert [row.entry.kind for row in rows(written(*begun, eoi))] == ["sent", "delivered"]
    other = [sent(5, 1, [3], 0xFD), accepted(5, 3, 0xFD)]
    found = rows(written(*begun, *other, eoi))
    assert [row.entry.kind for row in found] == ["sent", "delivered", "sent", "eoi"]
    assert found[3].head == "EOI for IPI 0xFD (reschedule)"
    assert "EOI" not in found[1].detail


def test_an_eoi_belongs_to_its_own_delivery(written: Callable[..., Film]) -> None:
    """A handler that was interrupted writes its EOI after that of the other: the rows must not be taken for one."""
    first = [sent(1, 0, [2], 0x40), accepted(1, 2, 0x40), delivered(2, 2, 0x40)]
    second = [sent(3, 0, [2], 0xFD), accepted(3, 2, 0xFD), delivered(4, 2, 0xFD)]
    film = written(*first, *second, (Eoi, 5, 2, {"vector": 0xFD}), (Eoi, 6, 2, {"vector": 0x40}))
    entries = [(entry.kind, entry.places, entry.eoi) for entry in Flow.of(film).entries]
    assert entries[3:] == [("delivered", (1,), True), ("eoi", (0,), False)]


def test_no_cpu_to_send_to(written: Callable[..., Film]) -> None:
    film = written(
        sent(1, 0, []), (Lost, 1, None, {"from_cpu": 0, "vector": 0xEA, "why": "no local APIC has the id 0x9"})
    )
    (row,) = rows(film)
    assert (row.head, row.detail) == ("m1 to no CPU, lost", "No local APIC has the id 0x9.")


def flood(written: Callable[..., Film], count: int) -> Film:
    """Messages of which each overwrites the one before: the first is delivered last."""
    acts: list[tuple[Any, ...]] = []
    for number in range(count):
        acts += [sent(number, 0, [2]), message(number, 0, 2, f"{number}"), accepted(number, 2, merged=number > 0)]
    return written(*acts)


def test_a_long_run_is_told_in_bounds(written: Callable[..., Film]) -> None:
    film = flood(written, 1000)
    view = View.at_end(film)
    assert (
        messages.answer(view)
        == "Of the newest 200: m1000 merged; m801 to m999 overwritten. 800 earlier: 800 overwritten."
    )
    told = messages.tell(view).splitlines()
    assert told[0] == "800 earlier ones are left out here."
    assert len(told) == 1 + 2 * 200
    assert told[1].startswith("m801 ")


@pytest.mark.parametrize("payload", ["", "00" * 300])
def test_absurd_bytes_are_told_as_they_are(written: Callable[..., Film], payload: str) -> None:
    slot = {"slot": SLOT, "sender": -1, "type": 0xFFFFFFFF, "size": 1 << 63, "payload": payload}
    film = written(sent(1, 0, [1]), (Message, 1, 0, {"to_cpu": 1, "vector": 0xEA, **slot}))
    assert "type 4294967295  9223372036854775808 B" in messages.tell(View.at_end(film))
    assert messages.as_text(payload).endswith('"' if not payload else "and 284 more")
