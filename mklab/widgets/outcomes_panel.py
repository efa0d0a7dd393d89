"""The graph of outcomes in a cell: an ending that is chosen shows the way to it."""

from typing import Any

from mklab.widgets.canvas import Canvas
from mklab.widgets.home import at_home
from mklab.widgets.on_stage import style
from mklab.widgets.outcomes import End, Graph, answer, tell
from mklab.widgets.outcomes_drawing import draw
from mklab.widgets.palette import LIGHT, LIVE, Palette
from mklab.widgets.picture import NARROW, paper, section
from mklab.widgets.still import Lasting
from mklab.widgets.svg import element

__all__ = ["OutcomeGraph"]

_NAME = "outcomes"
_WIDE = 920
"""Width in pixels where nobody has said how wide the page is."""


class OutcomeGraph(Lasting):
    """All that a machine can come to.

    Args:
        graph: the states and the endings.
        chosen: number of the ending to begin with, as ``graph.ends`` has them; None: none.

    Attributes:
        graph: as given.
        chosen: the ending whose way is shown; None: none.
        canvas: where it is drawn.

    Raises:
        ValueError: there is no such ending.
    """

    def __init__(self, graph: Graph, chosen: int | None = None) -> None:
        if chosen is not None and not 0 <= chosen < len(graph.ends):
            raise ValueError(f"chosen must be 0 to {len(graph.ends) - 1}, not {chosen!r}")
        self.graph = graph
        self.chosen: End | None = None if chosen is None else graph.ends[chosen]
        self.canvas = Canvas(self._act, ["t"])
        self.canvas.observe(at_home(lambda _change: self.redraw()), ["width", "opened"])
        super().__init__([style(), self.canvas], self.svg, self.words, graph.question)
        self.add_class("mklab")
        self.redraw()

    def redraw(self) -> None:
        """Draw it as it is now."""
        self.changed()
        width = self.canvas.width or NARROW
        drawing = draw(self.graph, self.chosen, LIVE, width)
        size = {"width": width, "height": drawing.height, "viewBox": f"0 0 {width} {drawing.height}"}
        body = element("svg", drawing.content, **size, role="group", aria_label=self.graph.question)
        words = self.words() if f"{_NAME}-twin" in self.canvas.opened else ""
        self.canvas.markup = section(_NAME, self.graph.question, answer(self.graph, self.chosen), body, words)

    def svg(self, palette: Palette = LIGHT, width: int = _WIDE) -> str:
        """The picture on its own paper."""
        drawing = draw(self.graph, self.chosen, palette, width - 48)
        return paper(self.graph.question, answer(self.graph, self.chosen), drawing, palette, width)

    def words(self) -> str:
        """The same in words."""
        return f"{self.graph.question}\n{answer(self.graph, self.chosen)}\n\n{tell(self.graph, self.chosen)}"

    def _act(self, said: dict[str, Any]) -> None:
        """An ending was chosen, or T was pressed for the text twin."""
        key, opened = f"{_NAME}-twin", self.canvas.opened
        if said.get("key") == "t":
            self.canvas.opened = [one for one in opened if one != key] if key in opened else [*opened, key]
            return
        found = next((end for end in self.graph.ends if end.state == said.get("look")), None)
        if found is not None:
            self.chosen = found
            self.redraw()
