"""What the notebook of lab 02 shows, against what the manual and the patches say."""

from mklab.guest import trampoline as prebuilt
from mklab.kernel.layout import TRAMPOLINE_BASE
from mklab.lab import trampoline
from mklab.lab.lab02 import pictures
from mklab.trace import Ignored, Sipi
from mklab.widgets.steps import last_step
from mklab.widgets.view import View


def test_the_stores_of_a_kick() -> None:
    rows = pictures.kick_table(pictures.way()).splitlines()[1:]
    assert "begins at 0x96000" in rows[-1]
    rows += pictures.kick_table(pictures.way(), second=True).splitlines()[1:]
    stored = [row.split("stores ")[1].split()[0] for row in rows if "0x300" in row]
    # INIT asserted, de-asserted (level-triggered), SIPI twice: smpboot.c, wakeup_secondary_cpu_via_init.
    assert [int(one, 16) for one in stored] == [0xC500, 0x8500, 0x696, 0x696]
    assert [row.split("stores ")[1].split()[0] for row in rows if "0x310" in row] == ["0x01000000"] * 4
    assert "ignored" in rows[-1]


def test_the_second_sipi_comes_while_the_trampoline_runs() -> None:
    film = pictures.way()
    first = next(event for event in film.events[film.looks[0].event :] if isinstance(event, Sipi))
    ignored = [event for event in film.events[first.seq :] if isinstance(event, Ignored)]
    assert [event.what for event in ignored] == ["SIPI 0x96"]
    assert ignored[0].time >= first.time + 1000


def test_every_instruction_of_the_16_bit_part_is_in_the_film() -> None:
    rows = pictures.steps(pictures.way(), 0, 0x5C).splitlines()
    assert [int(row.split()[0], 16) - 0x96000 for row in rows] == [
        *(0x00, 0x01, 0x03, 0x05, 0x07, 0x09, 0x0B, 0x14, 0x17, 0x1B, 0x1F, 0x27, 0x2B, 0x33, 0x37, 0x3F),
        *(0x43, 0x49, 0x4F, 0x52, 0x55),
    ]
    assert "CS 0x9600 -> 0x0008" in rows[-1]


def test_two_pushes_miss_the_stack() -> None:
    memory = pictures.kicked().memory
    entry = 0x96000 + prebuilt().symbols["startup_64"]
    assert memory.read(0x11FC, 8) == entry.to_bytes(4, "little") + (0x10).to_bytes(4, "little")
    assert memory.read(0x11F0, 12) == b"\xdd" * 12
    assert memory.read(0x97204 - 16, 16) == b"\xdd" * 16


def test_the_player_stands_behind_the_first_instruction_of_cpu_1() -> None:
    player = pictures.from_sipi()
    film = player.film
    step = last_step(View.at_look(film, player.look))
    assert step is not None
    assert step.executed is not None
    assert (step.cpu, step.executed.linear) == (trampoline.CPU, TRAMPOLINE_BASE)
