"""Code around a CPU's place: what it has executed and what comes next, beside the source lines."""

from mklab.widgets.blocks import changed_bar, code, code_width, titled, wrap_code
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing
from mklab.widgets.steps import Instruction, Step, instructions
from mklab.widgets.svg import element, text
from mklab.widgets.view import View

__all__ = ["draw", "tell"]

_NO_WAY_ON = ("jmp", "ljmp", "ret", "lret", "iret", "sysret", "sysexit")
"""How the mnemonics of instructions begin behind which code is not executed next."""

_GUTTER = 44
_SIDE_BY_SIDE = 560
"""Pixels from which on source lines stand beside the disassembly, not below it."""


def draw(view: View, step: Step, palette: Palette, width: int) -> Drawing:
    """The instructions as rows: address, disassembly, source line."""
    rows = _rows(view, step)
    if not rows:
        words = "No code is recorded where its RIP points."
        return titled("Code", "", Drawing(text(0, 12, words, palette.role("muted")), 16), palette, width)
    address = _GUTTER + max(code_width(f"{row.line.linear:#x}") for row in rows) + 12
    beside = width >= _SIDE_BY_SIDE and any(row.source for row in rows)
    split = address + (width - address) * 0.44 if beside else width
    content, y = "", 0
    for number, row in enumerate(rows):
        label = "next" if number == len(step.trail) else "step" if number == len(step.trail) - 1 else ""
        again = number > 0 and row.source == rows[number - 1].source
        drawn = _row(row, label, again, address, split, palette, width)
        content += element("g", drawn.content, transform=f"translate(0 {y})")
        y += drawn.height
    files = sorted({row.source.file for row in rows if row.source})
    return titled(
        "Code, and the source lines" if files else "Code", ", ".join(files), Drawing(content, y), palette, width
    )


def _rows(view: View, step: Step) -> list[Instruction]:
    """What was executed, and what follows up to the first jump that is always taken."""
    everything = instructions(view, step)
    rows = everything[: len(step.trail)]
    for one in everything[len(rows) :]:
        rows.append(one)
        if one.line.text.startswith(_NO_WAY_ON):
            break
    return rows


def _row(
    row: Instruction, label: str, again: bool, address: float, split: float, palette: Palette, width: int
) -> Drawing:
    ink, muted = palette.role("ink"), palette.role("muted")
    content = code(_GUTTER, 16, f"{row.line.linear:#x}", muted)
    y = 16
    for part in wrap_code(row.line.text, split - address - 8):
        content += code(address, y, part, ink, bold=label == "step")
        y += 16
    if row.source:
        beside = split < width
        left, top = (split, 16) if beside else (address, y)
        number = f"{row.source.number}"
        content += code(left, top, number, muted, size=11)
        inner = left + code_width("0000", 11)
        words = "the same line" if again else " ".join(row.source.text.split())
        for part in wrap_code(words, width - inner - 4, 11):
            content += code(inner, top, part, ink if beside else muted, size=11)
            top += 15
        y = max(y, top)
    height = y - 8
    if label == "step":
        content = changed_bar(0, 2, height - 2, palette) + text(8, 16, "step", ink, size=11, bold=True) + content
    elif label == "next":
        frame = {"x": 1.5, "y": 1, "width": width - 3, "height": height - 1, "rx": 3}
        content = element("rect", **frame, fill=palette.role("panel"), stroke=palette.role("axis")) + content
        content += text(8, 16, "next", ink, size=11, bold=True)
    return Drawing(content, height)


def tell(view: View, step: Step) -> str:
    """The same in words, a line for each instruction."""
    rows = []
    for number, row in enumerate(_rows(view, step)):
        label = "next" if number == len(step.trail) else "step" if number == len(step.trail) - 1 else ""
        source = f"{row.source.file}:{row.source.number}  {' '.join(row.source.text.split())}" if row.source else ""
        rows.append(f"{label:<5} {row.line.linear:#10x}  {row.line.text:<34} {source}".rstrip())
    return "\n".join(rows) or "code: not recorded"
