"""The picture of ownership: its words are exact, its SVG is well formed, legible, and shows who and in which state."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import pytest

from mklab.recording import Film
from mklab.trace import Event, Halted, ModeChange, OwnerChange, Planned, PlatformReset, Sipi, Woken
from mklab.widgets.lanes import groups
from mklab.widgets.ownership import PICTURE, cpus_of, window_of
from mklab.widgets.palette import DARK, LIGHT, LOOKS, ROLES, Palette
from mklab.widgets.picture import markup, svg, twin
from mklab.widgets.svg import width_of
from mklab.widgets.view import View

SVG = "{http://www.w3.org/2000/svg}"

TWIN = """\
Who owns each CPU, and in which state? At t=18,000, event 64 of 64.
CPU 3: planned for kernel 2, but it entered kernel 1 at 0x2000000 (event 61). \
CPU 3 shut down: triple fault at 0x2000040: page fault, and no IDT (event 63). \
Host: CPU 0. Kernel 1: CPUs 2 and 3. Nobody: CPU 1.

CPU 0   host      long           since t=0
CPU 1   nobody    wait-for-SIPI  since t=0
CPU 2   kernel 1  long           since t=10,000
CPU 3   kernel 1  shut down      since t=16,000; AGAINST THE PLAN: planned for kernel 2

History, in instructions
CPU 0     0 to 18,000          host      long
CPU 1     0 to 18,000          nobody    wait-for-SIPI
CPU 2     0 to 2,000           nobody    wait-for-SIPI
CPU 2     2,000 to 2,100       nobody    wait-for-SIPI  planned for kernel 1  (INIT)
CPU 2     2,100 to 2,300       nobody    real  planned for kernel 1  (SIPI 0x96)
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


def picture(view: View, width: int = 640, palette: Palette = LIGHT) -> ET.Element:
    """The drawing alone."""
    drawing = PICTURE.draw(view, palette, width)
    return ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{drawing.content}</svg>')


def words(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def test_the_twin_says_all_of_it(told_film: Film) -> None:
    said = twin(PICTURE, View.at_end(told_film))
    assert said == TWIN
    assert said.isascii()


def test_the_twin_says_that_more_is_recorded(told_film: Film) -> None:
    said = twin(PICTURE, View.at_event(told_film, 45))
    assert "CPU 2     10,000 to 12,000     kernel 1  long\n" in said
    assert "14,000" not in said
    assert said.endswith("More is recorded: up to t=18,000, event 64.")


def test_every_moment_can_be_drawn(told_film: Film) -> None:
    for event in range(-1, told_film.count):
        view = View.at_event(told_film, event)
        ET.fromstring(f"<p>{markup(PICTURE, view, 600)}</p>")
        assert twin(PICTURE, view).isascii()


def places(root: ET.Element) -> list[tuple[float, float, ET.Element]]:
    """The left and right end of every text of a drawing, in pixels."""
    found = []

    def visit(node: ET.Element, x: float) -> None:
        moved = re.match(r"translate\(([\d.-]+)", node.get("transform", ""))
        x += float(moved.group(1)) if moved else 0
        if node.tag == f"{SVG}text":
            wide = width_of("".join(node.itertext()), int(node.get("font-size", "0")))
            shift = {"end": 1.0, "middle": 0.5}.get(node.get("text-anchor", ""), 0)
            left = x + float(node.get("x", "0")) - wide * shift
            found.append((left, left + wide, node))
        for child in node:
            visit(child, x)

    visit(root, 0)
    return found


@pytest.mark.parametrize("width", [480, 600, 900, 1240])
@pytest.mark.parametrize("cpus", [4, 64])
def test_it_reflows(events: list[Event], width: int, cpus: int) -> None:
    film = Film(list(range(cpus)))
    film.extend(events)
    for event in (20, 45, 64):
        for left, right, text in places(picture(View.at_event(film, event), width)):
            assert left >= -8, "".join(text.itertext())
            assert right <= width + 8, "".join(text.itertext())
            assert int(text.get("font-size", "0")) >= 11


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_its_colours_are_the_palettes(told_film: Film, palette: Palette) -> None:
    view = replace(View.at_end(told_film), selected=61, cpu=2, span=(2_000, 9_000))
    used = set(re.findall(r"#[0-9A-Fa-f]{6}", svg(PICTURE, view, palette)))
    ground = 0 if palette is LIGHT else 1
    known = {pair[ground] for pair in ROLES.values()}
    known |= {color for look in LOOKS for color in (look.dark if ground else look.light)}
    assert used <= known
    assert {palette.role("alert"), palette.role("focus"), palette.line("kernel 2")} <= used


def test_who_and_in_which_state_is_written(told_film: Film) -> None:
    drawn = words(picture(View.at_end(told_film), 900))
    for said in ("CPU 3", "APIC 3", "shut down", "\u00d7 planned kernel 2", "wait-for-SIPI", "INIT", "0x96"):
        assert said in drawn
    assert "recorded, later" not in drawn


def dotted(root: ET.Element) -> list[ET.Element]:
    return [rect for rect in root.iter(f"{SVG}rect") if rect.get("stroke-dasharray") == "1.5 2.5"]


def test_the_future_is_dotted(told_film: Film) -> None:
    past = picture(View.at_event(told_film, 45), 900)
    assert "recorded, later" in words(past)
    # One for each CPU that changes no more, CPU 3's five, and the key's.
    assert len(dotted(past)) > 4
    assert dotted(picture(View.at_end(told_film), 900)) == []


def test_init_is_hollow_and_sipi_filled(told_film: Film) -> None:
    root = picture(View.at_end(told_film), 900)
    arrived = {
        group.get("aria-label"): [path.get("fill") for path in group.iter(f"{SVG}path") if "z" in path.get("d", "")]
        for group in root.iter(f"{SVG}g")
        if re.search("INIT|SIPI 0x", group.get("aria-label", ""))
    }
    assert arrived == {
        "CPU 2: INIT at t=2,000": [LIGHT.role("paper")],
        "CPU 2: SIPI 0x96 at t=2,100": [LIGHT.role("ink")],
        "CPU 3: SIPI 0x96 at t=14,000": [LIGHT.role("ink")],
    }


def test_what_can_be_selected_says_what_it_is(told_film: Film) -> None:
    root = picture(View.at_end(told_film))
    parts = [group for group in root.iter(f"{SVG}g") if group.get("role") == "button"]
    assert all(part.get("aria-label") and part.get("data-key") and part.get("tabindex") for part in parts)
    assert {part.get("data-cpu") for part in parts} - {None} == {"0", "1", "2", "3"}
    events = {int(part.get("data-event", "0")) for part in parts}
    assert {61, 63} <= events
    assert all(0 <= event < told_film.count for event in events)
    # Of each lane one part is reached by Tab, the others from there.
    lanes = [group for group in root.iter(f"{SVG}g") if group.get("data-arrows")]
    assert [sum(part.get("tabindex") == "0" for part in lane.iter()) for lane in lanes] == [1, 1, 1, 1]


def outlined(root: ET.Element) -> int:
    return sum(rect.get("stroke") == LIGHT.role("focus") for rect in root.iter(f"{SVG}rect"))


def test_what_is_selected_is_outlined(told_film: Film) -> None:
    view = View.at_end(told_film)
    assert outlined(picture(view)) == 0
    assert outlined(picture(replace(view, selected=61))) == 1
    assert outlined(picture(replace(view, selected=38))) == 1
    assert outlined(picture(replace(view, selected=61, cpu=3))) == 2


def test_the_chosen_stretch_is_marked(told_film: Film) -> None:
    view = View.at_end(told_film)
    focus = LIGHT.role("focus")
    assert focus not in PICTURE.draw(view, LIGHT, 640).content
    assert focus in PICTURE.draw(replace(view, span=(2_000, 9_000)), LIGHT, 640).content


def test_before_anything_is_recorded_it_says_what_to_do() -> None:
    view = View.at_end(Film([0, 1]))
    assert PICTURE.answer(view) == "Nothing recorded yet. Press Step (S), or run the cell above."
    assert words(picture(view)).count("CPU 1") == 1


def test_power_on_is_no_empty_recording(told_film: Film) -> None:
    assert PICTURE.answer(View.at_event(told_film, -1)) == "Nobody: CPUs 0 to 3."


def test_a_reset_is_told_once(written: Callable[..., Film]) -> None:
    film = written(
        *((ModeChange, 5, cpu, {"mode": "long"}) for cpu in range(3)),
        (PlatformReset, 10, None, {"why": "a write of 6 to port 0xcf9"}),
    )
    answer = PICTURE.answer(View.at_end(film))
    assert answer.count("The platform was reset: a write of 6 to port 0xcf9 (event 3).") == 1


def test_a_plan_made_after_the_cpu_was_taken_is_told_as_that(written: Callable[..., Film]) -> None:
    film = written(
        (OwnerChange, 5, 1, {"owner": "kernel 1", "planned": None, "address": 0x2000000}),
        (Planned, 10, 1, {"owner": "kernel 2"}),
    )
    answer = PICTURE.answer(View.at_end(film))
    assert answer.startswith("CPU 1 belongs to kernel 1, and is now planned for kernel 2.")


def crowd(cpus: int) -> Film:
    """Every CPU starts; every third halts, so that neighbours differ; CPU 5 is another kernel's than planned."""
    film, seq = Film(list(range(cpus))), 0
    for cpu in range(cpus):
        planned = "kernel 2" if cpu == 5 else "kernel 1"
        acts: list[tuple[type[Event], dict[str, object]]] = [
            (Planned, {"owner": planned}),
            (Sipi, {"from_cpu": None, "vector": 0x96}),
            (ModeChange, {"mode": "long"}),
            (OwnerChange, {"owner": "kernel 1", "planned": planned, "address": 0x2000000}),
            (Halted, {"interruptible": True}),
        ]
        for kind, values in acts if cpu % 3 == 0 else acts[:-1]:
            film.extend([kind(seq, 10 * seq, cpu, **values)])
            seq += 1
    return film


@pytest.mark.parametrize("cpus", [13, 64, 255])
def test_past_a_dozen_cpus_each_has_a_cell(cpus: int) -> None:
    root = picture(View.at_end(crowd(cpus)), 480)
    cells = [one for one in root.iter(f"{SVG}g") if (one.get("data-key") or "").startswith("ownership-cell-")]
    assert [int(cell.get("data-cpu", "-1")) for cell in cells] == list(range(cpus))
    assert all(["".join(text.itertext()) for text in cell.iter(f"{SVG}text")] == ["1"] for cell in cells)
    assert cells[5].get("aria-label") == "CPU 5: kernel 1, long, planned for kernel 2"
    assert cells[6].get("aria-label") == "CPU 6: kernel 1, halted"
    assert [cell.get("tabindex") for cell in cells].count("0") == 1
    # One around the cell, one around the broken plan in the lane of CPU 5, one in the key.
    assert sum(rect.get("stroke") == LIGHT.role("alert") for rect in root.iter(f"{SVG}rect")) == 3


@pytest.mark.parametrize("cpus", [4, 64])
def test_where_nothing_is_recorded_yet_there_is_room_for_how_cpus_stand(cpus: int) -> None:
    found = places(picture(View.at_end(Film(list(range(cpus)))), 720))
    assert "wait-for-SIPI" in ["".join(text.itertext()) for _, _, text in found]
    assert max(right for _, right, _ in found) <= 720


def test_lanes_stay_where_they_are_at_each_moment(told_film: Film) -> None:
    """What is told beside them becomes longer; the longest are the words of the broken plan, at the end."""
    views = [View.at_event(told_film, event) for event in range(-1, told_film.count)]
    windows = {window_of(view, groups(view)[0], 720) for view in views}
    assert len(windows) == 1
    assert "planned kernel 2" not in markup(PICTURE, views[0], 720)


def test_a_dozen_cpus_have_no_grid() -> None:
    assert "+15" not in words(picture(View.at_end(crowd(12))))
    assert "+15" in words(picture(View.at_end(crowd(13))))


def test_lanes_that_are_left_out_are_named_and_can_be_opened() -> None:
    view = View.at_end(crowd(64))
    # 22 CPUs that halted, 21 pairs between them, CPU 5 by itself beside CPU 4.
    lanes = 22 + 21 + 1
    assert any(said.startswith(f"{lanes - 12} more groups: CPUs ") for said in words(picture(view)))
    page = ET.fromstring(f"<p>{markup(PICTURE, view, 600)}</p>")
    (more,) = [one for one in page.iter("details") if one.get("data-key") == "ownership-more"]
    assert more.findtext("summary") == f"{lanes - 12} more groups"
    assert more.find("svg") is not None
    assert "ownership-more" not in markup(PICTURE, View.at_end(crowd(12)), 600)


def test_a_long_run_makes_a_small_picture_and_twin(written: Callable[..., Film]) -> None:
    turns = [
        (Halted, 40 * turn, turn % 4, {"interruptible": True})
        if turn // 4 % 2
        else (Woken, 40 * turn, turn % 4, {"vector": 0xEA})
        for turn in range(20_000)
    ]
    view = View.at_end(written(*turns))
    assert len(view.film.recording.spans[0]) > 4_000
    assert len(PICTURE.draw(view, LIGHT, 1240).content) < 60_000
    said = twin(PICTURE, view)
    assert said.count("\n") < 250
    assert re.search(r"CPU 0 +\.\.\. 4,\d{3} changes that are not listed \.\.\.", said)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([2], "CPU 2"),
        ([0, 1], "CPUs 0 and 1"),
        ([0, 1, 2, 3, 7], "CPUs 0 to 3 and 7"),
        ([0, 2, 4, 6, 8, 10, 11], "CPUs 0, 2, 4, 6 and 3 others"),
    ],
)
def test_cpus_in_words(numbers: list[int], expected: str) -> None:
    assert cpus_of(numbers) == expected


def test_it_needs_no_engine() -> None:
    code = "import sys, mklab.widgets.ownership; sys.exit('unicorn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
