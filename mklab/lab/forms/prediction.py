"""Predictions as exercises: ``choice = "B"`` and ``confidence = "fairly"``, before the run that settles it."""

from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, not_yet
from mklab.lab.forms.assigned import Assigned, MissingError, taken
from mklab.lab.prediction import Prediction
from mklab.lab.verdict import Outcome, Verdict

__all__ = ["CONFIDENCE", "prediction"]

CONFIDENCE = ("guess", "fairly", "sure")
"""How sure somebody can be."""

_RIGHT = {
    "guess": " You had guessed: read the reason as if you had been wrong.",
    "fairly": "",
    "sure": " You were sure, and rightly.",
}
_WRONG = {
    "guess": "",
    "fairly": "",
    "sure": " You were sure: then this is worth a second look.",
}


def prediction(id: str, title: str, asked: Prediction, hints: tuple[str, str, str]) -> Exercise:  # noqa: A002
    """An exercise that is answered by an option's letter and how sure one is.

    A wrong choice gets its own reason; the right one opens the reasons of all. The wrong options are the known
    mistakes, each with its reason for message.

    Args:
        id, title, hints: as of any exercise.
        asked: the question. The script's solution must assign the right letter to ``choice``.
    """
    options = asked.lettered()
    mistakes = tuple(
        Assigned(f"{letter}: {option.text}", (("choice", f'"{letter}"'),), option.why)
        for letter, option in options.items()
        if not option.right
    )

    def judge(answer: Answer, _seed: int) -> Verdict:
        return _judge(asked, answer)

    return Exercise(id, title, "prediction", judge, hints, mistakes, question=asked.question_only)


def _judge(asked: Prediction, answer: Answer) -> Verdict:
    options = asked.lettered()
    try:
        choice, confidence = taken(answer, "choice"), taken(answer, "confidence")
    except MissingError as error:
        known = list(options) if error.name == "choice" else list(CONFIDENCE)
        return not_yet(f"{error}.", next_step=f"Give it one of these: {', '.join(map(repr, known))}.")
    if isinstance(choice, str):
        choice = choice.strip().upper()
    if isinstance(confidence, str):
        confidence = confidence.strip().lower()
    if choice not in list(options):
        return not_yet(f"There is no option {choice!r}.", next_step=f"Choose one of {', '.join(options)}.")
    if confidence not in CONFIDENCE:
        words = ", ".join(map(repr, CONFIDENCE))
        return not_yet(f"How sure is {confidence!r}?", next_step=f"Let confidence be one of {words}.")
    chosen = options[choice]
    happened = f"You chose {choice}: {chosen.text} {chosen.why}"
    if not chosen.right:
        return not_yet(
            happened + _WRONG[confidence],
            next_step="Run the cells below, and look for what each option would have shown. Then choose again.",
        )
    others = " ".join(f"{letter}: {one.why}" for letter, one in options.items() if not one.right)
    return Verdict(Outcome.PASSED, happened + _RIGHT[confidence], next_step=f"Why not the others? {others}")
