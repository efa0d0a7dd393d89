"""The graph of outcomes: what is told of it, where things stand, and that an ending can be chosen."""

import asyncio
import re
import threading
from xml.etree import ElementTree

import pytest

from mklab.widgets.outcomes import End, Graph, answer, runs, tell
from mklab.widgets.outcomes_drawing import draw, places, shape
from mklab.widgets.outcomes_panel import OutcomeGraph
from mklab.widgets.palette import DARK, LIGHT
from mklab.widgets.svg import width_of

EDGES = [[(0, 1), (2, 2)], [(2, 3)], [(0, 4)], [], []]
GOOD = End(3, "good", "both arrive", ((0, "stores A"), (2, "stores B")))
TORN = End(4, "torn", "parts <of> both", ((2, "stores B"), (0, "stores A")))
GRAPH = Graph("What can happen?", EDGES, (TORN, GOOD))


def test_depths_cpus_and_the_way() -> None:
    assert GRAPH.depths == [0, 1, 1, 2, 2]
    assert GRAPH.cpus == [0, 2]
    assert GRAPH.way(GOOD) == [0, 1, 3]
    assert GRAPH.way(TORN) == [0, 2, 4]
    assert [end.kind for end in GRAPH.sorted_ends] == ["good", "torn"]


def test_steps_of_one_cpu_stand_together() -> None:
    end = End(3, "lost", "", ((0, "a"), (0, "b"), (2, "c"), (0, "d")))
    assert [(run.cpu, run.numbers, run.words) for run in runs(end)] == [
        (0, "1-2", "a, b"),
        (2, "3", "c"),
        (0, "4", "d"),
    ]


def test_it_is_told() -> None:
    assert answer(GRAPH, None) == "5 states can be reached, and 2 endings: 1 good, 1 torn."
    assert answer(GRAPH, TORN).endswith("a shortest way to one that is torn: parts <of> both.")
    lines = tell(GRAPH, TORN).splitlines()
    assert lines[1] == "  good      2  both arrive"
    assert lines[2] == "> torn      2  parts <of> both"
    assert lines[-2:] == ["     1  CPU 2  stores B", "     2  CPU 0  stores A"]


def test_states_stand_in_columns_and_apart() -> None:
    found = places(GRAPH, 100, 60)
    assert [x for x, _ in found] == [0, 50, 50, 100, 100]
    assert len(set(found)) == len(found)
    assert all(0 <= y <= 60 for _, y in found)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("width", [360, 600, 1200])
def test_the_drawing_is_whole_svg_and_inside_its_width(palette: object, width: int) -> None:
    drawing = draw(GRAPH, TORN, palette, width)  # type: ignore[arg-type]
    root = ElementTree.fromstring(f"<svg>{drawing.content}</svg>")  # our own
    words = "".join(root.itertext())
    for text in ("good: 1", "torn: 1", "both arrive", "a step of CPU 2", "stores A"):
        assert text in words
    rights = [float(one.get("x", 0)) + float(one.get("width", 0)) for one in root.iter("rect")]
    assert max(rights) <= width
    assert {one.get("data-look") for one in root.iter("g") if one.get("data-look")} == {"3", "4"}


def test_a_chosen_endings_words_are_inside_though_bold() -> None:
    end = End(1, "torn", "sender of B, type of B, buffer of A", ((0, "stores"),))
    graph = Graph("What lies there?", [[(0, 1)], []], (end,))
    for width in range(400, 700, 7):
        root = ElementTree.fromstring(f"<svg>{draw(graph, end, LIGHT, width).content}</svg>")  # our own
        for one in root.iter("text"):
            if one.get("font-weight") == "bold" and one.get("font-size") == "12":
                # Bold letters are about a sixth wider.
                assert float(one.get("x", 0)) + width_of(one.text or "", 14) <= width, (width, one.text)


def test_shapes_differ_without_colour() -> None:
    def form(kind: str) -> str:
        return re.sub(r"(#[0-9A-F]{6})", "", shape(kind, 20, 20, LIGHT))

    assert len({form(kind) for kind in ("good", "lost", "torn")}) == 3


def test_it_is_drawn_anew_in_the_notebooks_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser says how wide the page is in a subshell of the kernel, which is another thread."""
    threads: list[int] = []

    async def scene() -> None:
        panel = OutcomeGraph(GRAPH)
        monkeypatch.setattr(panel, "redraw", lambda: threads.append(threading.get_ident()))
        await asyncio.to_thread(setattr, panel.canvas, "width", 500)
        await asyncio.sleep(0)

    asyncio.run(scene())
    assert threads == [threading.get_ident()]


def test_an_ending_is_chosen() -> None:
    picture = OutcomeGraph(GRAPH)
    assert 'aria-pressed="true"' not in picture.canvas.markup
    picture._act({"look": 4})
    assert picture.chosen is TORN
    assert "torn: parts" in picture.canvas.markup
    assert 'aria-pressed="true"' in picture.canvas.markup
    assert picture.svg().startswith("<svg")
    picture._act({"look": 99})
    assert picture.chosen is TORN
    picture._act({"key": "t"})
    assert "<pre>" in picture.canvas.markup
    assert "parts &lt;of&gt; both" in picture.canvas.markup


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: End(0, "fine", "", ()), "kind must be one of good, lost, torn, not 'fine'"),
        (lambda: Graph("", [[(0, 5)]], ()), "states 0 to 0, not 5"),
        (lambda: OutcomeGraph(GRAPH, 2), "chosen must be 0 to 1, not 2"),
    ],
)
def test_misuse_is_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]
