"""Contrast is computed, from the formula of WCAG 2 ("relative luminance"), and hatches differ where hues may not."""

import re

import pytest

from mklab.widgets.palette import DARK, LIGHT, LIVE, LOOKS, ROLES, Palette, look_of, style_sheet

OWNERS = ["host", *(f"kernel {number}" for number in range(1, 7)), None]


def luminance(color: str) -> float:
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_formula() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("owner", OWNERS)
def test_an_owners_lines_and_words_stand_out(palette: Palette, owner: str | None) -> None:
    line, fill = palette.line(owner), palette.fill(owner)
    for ground in (palette.role("paper"), palette.role("panel"), fill):
        assert contrast(line, ground) >= 3
    assert contrast(palette.role("ink"), fill) >= 4.5
    # Troubles are named, and what is selected is framed, on an owner's ground too.
    assert contrast(palette.role("alert"), fill) >= 4.5
    assert contrast(palette.role("focus"), fill) >= 3


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "panel"])
def test_words_and_marks_stand_out(palette: Palette, ground: str) -> None:
    for role, least in {"ink": 4.5, "muted": 4.5, "alert": 4.5, "good": 4.5, "focus": 3, "axis": 3}.items():
        assert contrast(palette.role(role), palette.role(ground)) >= least, role
    # Words stand on the boxes of CPUs that nobody owns, too.
    assert contrast(palette.role("ink"), palette.role("rule")) >= 4.5


def test_no_two_owners_look_alike_without_colour() -> None:
    assert len({look.hatch for look in LOOKS}) == len(LOOKS)


def test_kernels_past_the_sixth_go_round() -> None:
    assert look_of("kernel 7") == look_of("kernel 1")
    assert look_of("kernel 6") != look_of("kernel 1")
    assert look_of("rogue") in LOOKS[1:-1]


def test_every_live_colour_is_set_for_both_themes() -> None:
    used = {LIVE.line(owner) for owner in OWNERS} | {LIVE.fill(owner) for owner in OWNERS}
    used |= {LIVE.role(role) for role in ROLES}
    light, dark = style_sheet(".x").splitlines()
    assert light.startswith(".x {")
    assert dark.startswith('[data-jp-theme-light="false"] .x {')
    for sheet in (light, dark):
        assert {f"var({name})" for name in re.findall(r"(--mk-[\w-]+):", sheet)} == used
    assert "--mk-k1-line: #B84E00;" in light
    assert "--mk-k1-line: #FF8F57;" in dark
