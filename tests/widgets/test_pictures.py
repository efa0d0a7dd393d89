"""The pictures of the story: their words are exact, their SVG is well formed and legible."""

import itertools
import xml.etree.ElementTree as ET

import pytest

from mklab.recording import Recording
from mklab.trace import Event, IpiSent
from mklab.widgets import bands, dashboard, messages, ownership, sequence
from mklab.widgets.palette import DARK, LIGHT, Palette

OWNERSHIP = """\
Who owns each CPU, and in which state? At t=18,000, event 64.
Host: CPU 0. Kernel 1: CPUs 2 and 3. Nobody: CPU 1. CPU 3 was planned for kernel 2. \
CPU 3 shut down: triple fault at 0x2000040: page fault, and no IDT.

CPU 0   host      long           since t=0
CPU 1   nobody    wait-for-SIPI  since t=0
CPU 2   kernel 1  long           since t=10,000
CPU 3   kernel 1  shut down      since t=16,000; AGAINST THE PLAN: planned for kernel 2

History, in instructions
CPU 0     0 to 18,000          host      long
CPU 1     0 to 18,000          nobody    wait-for-SIPI
CPU 2     0 to 2,000           nobody    wait-for-SIPI
CPU 2     2,000 to 2,100       nobody    wait-for-SIPI  planned for kernel 1
CPU 2     2,100 to 2,300       nobody    real  planned for kernel 1  (INIT, SIPI 0x96)
CPU 2     2,300 to 9,000       nobody    protected  planned for kernel 1
CPU 2     9,000 to 9,010       nobody    long  planned for kernel 1
CPU 2     9,010 to 9,200       kernel 1  long
CPU 2     9,200 to 10,000      kernel 1  halted
CPU 2     10,000 to 18,000     kernel 1  long
CPU 3     0 to 14,000          nobody    wait-for-SIPI
CPU 3     14,000 to 14,200     nobody    real  planned for kernel 2  (SIPI 0x96)
CPU 3     14,200 to 14,300     nobody    long  planned for kernel 2
CPU 3     14,300 to 16,000     kernel 1  long  planned for kernel 2
CPU 3     16,000 to 18,000     kernel 1  shut down  planned for kernel 2

Trouble
AGAINST PLAN  t=14,300  event 61  CPU 3, planned for kernel 2, entered kernel 1 at 0x2000000
FAULT  t=15,900  event 62  CPU 3 raised exception 14, error code 0x2 at 0x2000040
SHUTDOWN  t=16,000  event 63  CPU 3 shut down: triple fault at 0x2000040: page fault, and no IDT"""

MESSAGES = """\
What became of each message, and why? At t=18,000, event 64.
m1 delivered; m3 merged; m2 overwritten; m4 lost.

INIT                  CPU 0 -> CPU 2    sent e14, t=2,000. CPU 2 goes to wait-for-SIPI; it belongs to nobody.
INIT level de-assert  CPU 0 -> CPU 2    sent e16, t=2,000. Ignored. CPUs since the Pentium 4 ignore it.
SIPI 0x96             CPU 0 -> CPU 2    sent e18, t=2,100. CPU 2 starts in real mode at 0x96000.
SIPI 0x96             CPU 0 -> CPU 2    sent e21, t=3,100. Ignored. CPU 2 is not in wait-for-SIPI.
m1                    CPU 0 -> CPU 2    type 1  4 B  sent e38, t=10,000. Accepted: IRR bit 0xEA set. \
Delivered e42, t=10,000. Read e43. EOI e44.
                      70 69 6e 67  "ping"
m2                    CPU 0 -> CPU 2    type 1  3 B  sent e45, t=12,000. Accepted: IRR bit 0xEA set. \
Delivered e51, t=12,900. OVERWRITTEN e49. EOI e53.
                      6f 6e 65  "one"
m3                    CPU 0 -> CPU 2    type 2  3 B  sent e48, t=12,400. \
It overwrites m2, not yet read: one slot, no full flag. Merged. \
IRR bit 0xEA was set already: two IPIs, one interrupt. Delivered e51, t=12,900. Read e52. EOI e53.
                      74 77 6f  "two"
m4                    CPU 2 -> CPU 3    type 1  5 B  sent e54, t=13,500. LOST. \
The local APIC of CPU 3, which waits for a SIPI, is software-disabled (SVR=0xff). \
Its bytes stay in the slot, unread.
                      6c 6f 73 74 3f  "lost?"
SIPI 0x96             CPU 0 -> CPU 3    sent e58, t=14,000. CPU 3 starts in real mode at 0x96000."""


def test_the_twins_say_all_of_it(story: Recording) -> None:
    assert ownership.twin(story) == OWNERSHIP
    assert messages.twin(story) == MESSAGES
    assert dashboard.twin(story) == f"{OWNERSHIP}\n\n{MESSAGES}"


def test_every_moment_of_the_story_can_be_drawn(story: Recording, events: list[Event]) -> None:
    for event in range(-1, story.count):
        past, replayed = story.upto(event), Recording([0, 1, 2, 3])
        replayed.extend(events[: event + 1])
        assert past == replayed
        ET.fromstring(dashboard.svg(past))
        assert dashboard.twin(past).isascii()
        assert sequence.html(past).count("<tr") == (len(messages.rows(past)) + 1 if messages.rows(past) else 0)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_svg_is_legible_and_carries_its_paper(story: Recording, palette: Palette) -> None:
    for picture in (bands.svg(story, palette), sequence.svg(story, palette)):
        root = ET.fromstring(picture)
        texts = list(root.iter("{http://www.w3.org/2000/svg}text"))
        assert texts
        assert min(float(text.get("font-size", "0")) for text in texts) >= 11
        assert root[2].tag.endswith("rect")
        assert (root[2].get("fill"), root[2].get("width")) == (palette.role("paper"), root.get("width"))
        assert "var(--mk" not in picture


def test_svg_shows_who_and_what(story: Recording) -> None:
    drawn = [
        "".join(text.itertext()) for text in ET.fromstring(dashboard.svg(story)).iter() if text.tag.endswith("text")
    ]
    for words in ("CPU 3", "APIC 3", "shut down; planned: kernel 2", "wait-for-SIPI", "INIT, SIPI 0x96", "m4"):
        assert words in drawn
    assert "\u00d7 e54 m4 to CPU 3, type 1, 5 bytes" in drawn


def test_the_first_picture_says_what_to_do() -> None:
    empty = Recording([0, 1])
    assert ownership.answer(empty) == "Nothing recorded yet. Press Step, or run the cell above."
    assert messages.answer(empty) == "No message has been sent yet."
    assert len(ownership.lanes(empty)) == 2
    ET.fromstring(dashboard.svg(empty))


def test_a_trouble_is_told_by_more_than_colour(story: Recording) -> None:
    trouble = [row for row in messages.rows(story) if row.trouble]
    assert [row.names for row in trouble] == [["m3"], ["m2", "m3"], ["m4"]]
    assert [row.detail.split(".")[0] for row in trouble] == [
        "It overwrites m2, not yet read: one slot, no full flag",
        "CPU 2 enters its handler",
        "LOST",
    ]
    assert "Of m2 nothing is left." in trouble[1].detail


def test_delivery_follows_sending(story: Recording) -> None:
    told = [(row.at.event, row.sent, row.names) for row in messages.rows(story)]
    assert told[3:9] == [
        (38, True, ["m1"]),
        (42, False, ["m1"]),
        (45, True, ["m2"]),
        (48, True, ["m3"]),
        (51, False, ["m2", "m3"]),
        (54, True, ["m4"]),
    ]


def test_what_is_on_its_way_says_so(story: Recording) -> None:
    assert messages.answer(story.upto(40)) == "m1 on its way."


def test_bytes_that_changed_in_the_slot_are_told(events: list[Event]) -> None:
    recording = Recording([0, 1, 2, 3])
    for event in events[:45]:
        data = event.to_dict()
        changed = {"payload": "00000000"} if event.kind == "MessageTaken" else {}
        recording.extend([Event.from_dict({**data, **changed})])
    (row,) = [row for row in messages.rows(recording) if row.trouble]
    assert "The slot no longer holds what was sent as m1." in row.detail


def crowd(cpus: int) -> Recording:
    """A recording in which CPU 0 sends an INIT to each other CPU in turn."""
    recording = Recording(list(range(cpus)))
    for cpu in range(1, cpus):
        recording.extend([IpiSent(recording.count, 10 * cpu, 0, 0, "init", "none", True, [cpu])])
    return recording


def test_past_a_dozen_cpus_those_alike_share_a_lane(events: list[Event]) -> None:
    recording = Recording(list(range(64)))
    recording.extend(events)
    shown = ownership.lanes(recording)
    assert [lane.name for lane in shown] == ["CPU 0", "CPU 1", "CPU 2", "CPU 3", "CPU 4-63"]
    assert list(itertools.chain(*(lane.cpus for lane in shown))) == list(range(64))
    assert "60 alike" in bands.svg(recording)
    assert len(ownership.lanes(crowd(12))) == 12


def test_rows_that_do_not_fit_are_in_the_text() -> None:
    recording = crowd(64)
    assert "The last 7 of 63 rows; all of them are in the text." in sequence.html(recording)
    assert messages.twin(recording).count("CPU 0 -> CPU") == 63


@pytest.mark.parametrize(
    ("end", "expected"),
    [(0, [0]), (7, [0, 1, 2, 3, 4, 5, 6, 7]), (136_241, [0, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000])],
)
def test_ticks_are_round(end: int, expected: list[int]) -> None:
    assert ownership.ticks(end) == expected
