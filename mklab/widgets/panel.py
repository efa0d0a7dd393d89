"""One picture in a cell, or in a dashboard: shown by a canvas, drawn again when the stage's view changes."""

import os
from html import escape
from pathlib import Path
from typing import Any

from mklab.widgets.on_stage import OnStage
from mklab.widgets.picture import NARROW, Picture, markup, svg, twin

__all__ = ["Panel"]


class Panel(OnStage):
    """``picture`` of what ``driver`` has recorded.

    Args:
        picture: the picture.
        driver: a driver, or the stage of one.

    Attributes:
        picture, stage: the picture, and what it shares with others.
        canvas: where it is drawn.
    """

    def __init__(self, picture: Picture, driver: Any) -> None:
        self.picture = picture
        super().__init__(driver, self._svg_of_view, self._words_of_view, picture.question)

    def redraw(self) -> None:
        """Draw the stage's view, if it can be seen."""
        self.changed()
        if not self.visible:
            return
        try:
            self.draw()
        except Exception as error:  # one picture's trouble is not that of the others
            why = (
                f"This moment cannot be drawn: {error} ({type(error).__name__}). The other pictures are not concerned."
            )
            question = escape(self.picture.question)
            self.canvas.markup = f'<h3>{question}</h3><p class="mklab-trouble">{escape(why)}</p>'

    def draw(self) -> None:
        """Draw the stage's view."""
        width = self.canvas.width or NARROW
        self.canvas.markup = markup(self.picture, self.stage.view, width, with_twin=self.has_twin)

    def _act(self, said: dict[str, Any]) -> None:
        """Something was done in the picture."""
        if said.get("key") == "t":
            self.toggle_twin()
        else:
            self.stage.act(said)

    @property
    def has_twin(self) -> bool:
        """Whether the text twin is open."""
        return f"{self.picture.name}-twin" in self.canvas.opened

    def toggle_twin(self) -> None:
        """Open or close the text twin."""
        key, opened = f"{self.picture.name}-twin", self.canvas.opened
        self.canvas.opened = [one for one in opened if one != key] if self.has_twin else [*opened, key]

    def save(self, path: str | Path) -> None:
        """Write the picture to a file: SVG or PNG, by its suffix.

        Raises:
            OSError: it cannot be written.
            MklabError: this computer has no font for a PNG.
            ValueError: the suffix is another one.
        """
        file = Path(path)
        if file.suffix == ".svg":
            file.write_text(self._svg_of_view(), encoding="utf-8")
        elif file.suffix == ".png":
            from mklab.widgets.raster import png

            file.write_bytes(png(self._svg_of_view()))
        else:
            raise ValueError(f"path must end in .svg or .png, not {os.fspath(path)!r}")

    def _svg_of_view(self) -> str:
        return svg(self.picture, self.stage.view)

    def _words_of_view(self) -> str:
        return twin(self.picture, self.stage.view)
