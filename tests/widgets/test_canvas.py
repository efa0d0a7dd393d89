"""The one widget of our own: Python decides, JavaScript draws."""

import re

from mklab.widgets.canvas import Canvas

# What the script would have to know if it decided anything.
DOMAIN = r"kernel|owner|kexec|kimage|apic|ipi|vector|interrupt|trampoline|memory|machine|run|reset"


def test_the_script_knows_nothing_of_what_it_shows() -> None:
    code = re.sub(r"//.*", "", str(Canvas._esm))
    words = set(re.findall(r"[A-Za-z]+", code))
    assert not {word for word in words if re.fullmatch(DOMAIN, word, re.IGNORECASE)}


def test_it_loads_nothing_from_anywhere() -> None:
    assert not re.search(r"https?:|import\s*\(|^import\s|fetch\(", str(Canvas._esm), re.MULTILINE)


def test_what_is_said_reaches_python() -> None:
    said: list[object] = []
    canvas = Canvas(said.append, ["s", "Escape"], leads=True)
    canvas._handle_custom_msg({"event": 7}, [])
    assert said == [{"event": 7}]
    assert (canvas.taken, canvas.leads, canvas.visible, canvas.width) == (["s", "Escape"], True, True, 0)
