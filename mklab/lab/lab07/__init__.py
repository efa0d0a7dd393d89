"""Lab 07, "Three kernels": place, load, start, talk; and what holds them apart."""

from mklab.lab.lab07 import hello, isolation, plan, relay, review, start, trespass, wiped
from mklab.lab.lab07.hazards import Hasty, Hazards
from mklab.lab.lab07.isolation import exit_question
from mklab.lab.lab07.review import Changes
from mklab.lab.lab07.story import story
from mklab.lab.lab07.trespass import Later
from mklab.lab.lab07.wiped import Sudden

__all__ = ["EXERCISES", "Changes", "Hasty", "Hazards", "Later", "Sudden", "exit_question", "story"]

EXERCISES = (
    isolation.EXERCISE,
    plan.EXERCISE,
    start.EXERCISE,
    hello.EXERCISE,
    relay.EXERCISE,
    wiped.EXERCISE,
    trespass.EXERCISE,
    review.EXERCISE,
)
