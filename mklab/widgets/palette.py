"""Colours and hatches: an owner is a hue, a hatch and a code; hues come from Okabe and Ito's colour-blind safe set.

Three palettes answer the same questions. :data:`LIGHT` and :data:`DARK` give colours, for pictures that carry their own
paper. :data:`LIVE` gives CSS variables, for pictures inside JupyterLab; :func:`style_sheet` sets these by its theme.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["DARK", "LIGHT", "LIVE", "LOOKS", "ROLES", "Look", "Palette", "code_of", "look_of", "style_sheet"]


@dataclass(frozen=True)
class Look:
    """How an owner is drawn.

    Attributes:
        key: its name in CSS variables.
        hatch: ``plain``, ``rising``, ``dots``, ``falling``, ``level``, ``upright``, ``grid`` or ``hollow``.
        light, dark: the colours of its lines and of its fill on either ground.
    """

    key: str
    hatch: str
    light: tuple[str, str]
    dark: tuple[str, str]


LOOKS = [
    Look("host", "plain", ("#0072B2", "#CFE4F3"), ("#6FB1FF", "#12304F")),
    Look("k1", "rising", ("#B84E00", "#FBDCC5"), ("#FF8F57", "#4C2309")),
    Look("k2", "dots", ("#007A59", "#C5EBDF"), ("#3CCB9F", "#0B3B2D")),
    Look("k3", "falling", ("#A2447B", "#F5DCE9"), ("#EE9FCB", "#46203A")),
    Look("k4", "level", ("#8A5F00", "#FCE6B4"), ("#F2B32E", "#44300A")),
    Look("k5", "upright", ("#0B7391", "#CDF0FA"), ("#7FDDF5", "#0F3D49")),
    Look("k6", "grid", ("#6E6600", "#F7F3A6"), ("#F0E442", "#3B390A")),
    Look("nobody", "hollow", ("#565D66", "#FFFFFF"), ("#AEB5BD", "#111111")),
]
"""The host, six kernels, and nobody."""

ROLES = {
    "ink": ("#1B1F23", "#E9ECEF"),
    "muted": ("#565D66", "#AEB5BD"),
    "alert": ("#B3001B", "#FF8F8F"),
    "good": ("#006B4F", "#4FD1A5"),
    "focus": ("#6A3FD1", "#C3A6FF"),
    "axis": ("#7A828C", "#868E97"),
    "paper": ("#FFFFFF", "#111111"),
    "panel": ("#F7F8F9", "#1B1D20"),
    "rule": ("#D5D9DE", "#3A3F45"),
}
"""What is no owner's: its colour on light and on dark ground."""

_KERNELS = len(LOOKS) - 2


@lru_cache(256)
def look_of(owner: str | None) -> Look:
    """The look of ``owner``: ``host``, ``kernel 1``, ... or None. Kernel 7 looks like kernel 1."""
    if owner is None:
        return LOOKS[-1]
    if owner == "host":
        return LOOKS[0]
    number = re.search(r"\d+$", owner)
    return LOOKS[1 + (int(number.group()) - 1) % _KERNELS if number else 1]


def code_of(owner: str | None) -> str:
    """What stands for ``owner`` where there is room for a letter: ``H``, the kernel's number, or ``-``."""
    if owner is None:
        return "-"
    number = re.search(r"\d+$", owner)
    return number.group() if number else owner[0].upper()


@dataclass(frozen=True)
class Palette:
    """Where a picture gets its colours.

    Attributes:
        ground: ``light`` or ``dark``: colours; ``live``: CSS variables.
    """

    ground: str

    def line(self, owner: str | None) -> str:
        """The colour of the outline and hatch of ``owner``."""
        look = look_of(owner)
        return self._pick(f"{look.key}-line", look.light[0], look.dark[0])

    def fill(self, owner: str | None) -> str:
        """The colour of the area of ``owner``."""
        look = look_of(owner)
        return self._pick(f"{look.key}-fill", look.light[1], look.dark[1])

    def role(self, name: str) -> str:
        """The colour of one of :data:`ROLES`."""
        return self._pick(name, *ROLES[name])

    def _pick(self, name: str, light: str, dark: str) -> str:
        return {"light": light, "dark": dark}.get(self.ground, f"var(--mk-{name})")


LIGHT = Palette("light")
DARK = Palette("dark")
LIVE = Palette("live")


def style_sheet(selector: str) -> str:
    """CSS that sets the variables of :data:`LIVE` for the elements that match ``selector``, by JupyterLab's theme."""
    sheets = []
    # JupyterLab says which theme is on in an attribute of the body. Where there is none, pages are light.
    for scope, palette in ((selector, LIGHT), (f'[data-jp-theme-light="false"] {selector}', DARK)):
        values = {f"--mk-{name}": palette.role(name) for name in ROLES}
        for look, owner in zip(LOOKS, ["host", *(f"kernel {n}" for n in range(1, _KERNELS + 1)), None], strict=True):
            values |= {f"--mk-{look.key}-line": palette.line(owner), f"--mk-{look.key}-fill": palette.fill(owner)}
        sheets.append(f"{scope} {{ {' '.join(f'{name}: {value};' for name, value in values.items())} }}")
    return "\n".join(sheets)
