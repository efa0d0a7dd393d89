"""The controls of a dashboard: what steers the driver, by mouse and by keyboard, and what it says of itself."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from mklab.widgets.condition import FORMS
from mklab.widgets.driver import UNITS, Runner
from mklab.widgets.on_stage import OnStage
from mklab.widgets.palette import LIGHT
from mklab.widgets.picture import COLUMN
from mklab.widgets.scrubber import scrubber
from mklab.widgets.stage import Stage
from mklab.widgets.steering import SPEEDS
from mklab.widgets.svg import document, element, text, wrap

__all__ = ["Controls"]

_WIDTH = 960
_NAME = "Controls of the run"


class Controls(OnStage):
    """Buttons, choices, places to stop, a scrubber and a status line for ``driver``.

    Args:
        driver: a driver, or the stage of one.
        export: makes a file of what the stage shows, and says where it is; None: there is nothing to export with.
        title: a heading.

    Attributes:
        stage: what is steered.
        canvas: where it is drawn.
    """

    def __init__(self, driver: Any, export: Callable[[Stage], str] | None = None, title: str = "") -> None:
        self._export, self._title = export, title
        super().__init__(driver, self._svg_of_status, self._words, _NAME, leads=True)

    def redraw(self) -> None:
        """Draw the controls again."""
        self.changed()
        width = self.canvas.width or _WIDTH
        steering = self.stage.steering
        title = f"<h2>{escape(self._title)}</h2>" if self._title else ""
        kind = "mklab-status mklab-trouble" if steering.trouble else "mklab-status"
        sign = "\u2715" if steering.trouble else "\u25b6" if steering.running else "\u25a0"
        words = f'<span aria-hidden="true">{sign}</span> {escape(steering.status)}'
        said = f'<div role="status" class="{kind}">{words}</div>'
        self.canvas.markup = (
            f'<div class="mk-head">{title}{said}</div>{self._buttons()}{self._form()}{scrubber(self.stage.view, width)}'
        )

    # Drawing

    def _buttons(self) -> str:
        steering, driver = self.stage.steering, self.stage.driver
        runs = isinstance(driver, Runner)
        schedule = driver.schedule if isinstance(driver, Runner) else ""
        busy = steering.running
        stops = f"Breakpoints: {len(steering.stops)}"
        buttons = [
            _button("reset", "Reset", "0", off=busy, hint="Start again from the beginning"),
            _button("back", "Back", "B", off=busy, hint="Undo one step"),
            _button("step", "Step", "S", off=busy, hint="Go on by one step"),
            _button("interrupt", "Interrupt", "Esc", hint="Stop the run")
            if busy
            else _button("run", "Run", "R", hint="Go on to the end, or to a breakpoint"),
            _button("until", "Run until", "U", off=busy or not runs, hint="Go on to a place", form=steering.form),
            _select("unit", "How far a step goes", [(one, f"by {one}") for one in UNITS], steering.unit),
            _select("speed", "Speed of a run", [(str(one), _speed(one)) for one in SPEEDS], str(steering.speed)),
            _button(
                "schedule",
                f"Schedule: {schedule or 'as recorded'}",
                off=busy or not schedule,
                hint="Start again with another schedule",
                form=steering.form,
            ),
            _button("stops", stops, off=busy or not runs, hint="Where every run stops", form=steering.form),
            _button("export", "Export", off=busy or self._export is None, hint="Make a file of what is shown"),
        ]
        return f'<div class="mk-buttons" role="toolbar" aria-label="{_NAME}">{"".join(buttons)}</div>'

    def _form(self) -> str:
        steering = self.stage.steering
        if steering.form == "schedule":
            return (
                '<form class="mk-form" data-act="reset-with" data-key="form">'
                '<label>Schedule <select name="kind"><option value="round robin">round robin</option>'
                '<option value="seed">by chance, from a seed</option></select></label>'
                '<label>Quantum or seed <input name="number" type="number" min="0" value="1000" data-focus="1"></label>'
                "<button>Reset with this schedule</button></form>"
            )
        if steering.form not in ("until", "stops"):
            return ""
        act, verb = {"until": ("run-until", "Run until there"), "stops": ("add-stop", "Add")}[steering.form]
        examples = "".join(
            f"<div><code>{escape(form)}</code> {escape(meaning)}</div>" for form, meaning in FORMS.items()
        )
        kept = "".join(
            f'<li><code>{escape(one)}</code> <button type="button" data-act="remove-stop" data-value="{escape(one)}"'
            f' data-key="remove-{escape(one)}" aria-label="Remove {escape(one)}">Remove</button></li>'
            for one in (steering.stops if steering.form == "stops" else [])
        )
        return (
            f'<form class="mk-form" data-act="{act}" data-key="form"><label>Stop at '
            f'<input name="words" type="text" autocomplete="off" placeholder="vector 0xEA" data-focus="1"/></label>'
            f"<button>{verb}</button></form><ul>{kept}</ul>"
            f'<div class="mk-examples" aria-label="What can be typed">{examples}</div>'
        )

    # Acting

    def _act(self, said: dict[str, Any]) -> None:
        stage, steering = self.stage, self.stage.steering
        act, value = said.get("act"), said.get("value")
        plain = {
            "reset": steering.reset,
            "back": steering.back,
            "step": steering.step,
            "run": steering.run,
            "interrupt": steering.interrupt,
        }
        if act in plain:
            plain[act]()
        elif act in ("until", "stops", "schedule"):
            steering.open(str(act))
        elif said.get("key") == "t":
            stage.toggle_twins()
        else:
            steering.attempt("That", lambda: self._act_on(act, value, said))

    def _act_on(self, act: str | None, value: Any, said: dict[str, Any]) -> None:
        """As above, for what a control says with a value, be it nonsense."""
        stage, steering = self.stage, self.stage.steering
        if act in ("unit", "speed"):
            steering.set(act, str(value))
        elif act == "scrub":
            stage.move(int(value))
        elif act == "run-until":
            steering.run(str(value["words"]).strip() or "nothing")
        elif act == "add-stop":
            steering.add_stop(str(value["words"]))
        elif act == "remove-stop":
            steering.remove_stop(str(value))
        elif act == "reset-with":
            steering.reset(f"{value['kind']} {value['number']}".strip())
        elif act == "export" and self._export is not None:
            steering.say(self._export(stage))
        else:
            stage.act(said)

    # Static pages

    def _words(self) -> str:
        return self.stage.steering.status

    def _svg_of_status(self) -> str:
        """Controls do nothing on a static page: what they said last."""
        lines = wrap(self.stage.steering.status, COLUMN - 48, 13)
        content = "".join(
            text(24, 30 + 18 * number, line, LIGHT.role("ink"), size=13) for number, line in enumerate(lines)
        )
        return document(_NAME, " ".join(lines), COLUMN, 42 + 18 * len(lines), LIGHT, content)


def _button(act: str, name: str, key: str = "", *, off: bool = False, hint: str = "", form: str | None = None) -> str:
    """A button; one that is off stays where the focus can be, and says so."""
    return element(
        "button",
        escape(name) + (f' <kbd aria-hidden="true">{key}</kbd>' if key else ""),
        type="button",
        data_act=None if off else act,
        data_key=act,
        title=hint,
        aria_disabled="true" if off else None,
        aria_keyshortcuts={"Esc": "Escape"}.get(key, key) or None,
        aria_expanded=None if form is None else str(form == act).lower(),
    )


def _select(act: str, name: str, choices: Sequence[tuple[str, str]], chosen: str) -> str:
    options = "".join(
        element("option", escape(words), value=value, selected="selected" if value == chosen else None)
        for value, words in choices
    )
    return element("select", options, data_act=act, data_on="change", data_key=act, aria_label=name, title=name)


def _speed(events: int) -> str:
    return f"{events} event{'s' if events > 1 else ''} a second" if events else "full speed"
