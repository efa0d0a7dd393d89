"""Exercises 08.3 and 08.4: each student's numbers have one answer, and it can be found from what is given."""

import importlib
import re

import pytest

from mklab.lab import exercises
from mklab.lab.verdict import Outcome

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_step_is_the_first_that_stores_over_the_lost_message(seed: int) -> None:
    given = exercises.find("08.3").given
    assert given is not None
    sent, handed, _, *steps = given(seed).splitlines()
    messages = {(int(type_), int(cpu)) for type_, cpu in re.findall(r"type (\d+) from CPU (\d)", sent)}
    arrived = {(int(type_), int(cpu)) for type_, cpu in re.findall(r"type (\d+) from CPU (\d)", handed)}
    ((lost, sender),) = messages - arrived
    fields, expected, cpu = set(), 0, 0
    for number, line in enumerate(steps, 1):
        found = re.fullmatch(rf" *{number}  CPU (\d)  stores (sender_cpu|type)", line)
        if found and int(found[1]) == sender:
            fields.add(found[2])
        elif found and found[2] in fields and not expected:
            expected, cpu = number, int(found[1])
    assert exercises.find("08.3").solution(seed) == f"lost = {lost}\nstep = {expected}\ncpu = {cpu}"


@pytest.mark.parametrize("name", ["08.3", "08.4"])
@pytest.mark.parametrize("seed", range(1, 7))
def test_each_known_mistake_gets_its_message_on_every_seed(name: str, seed: int) -> None:
    exercise = exercises.find(name)
    solution = exercise.solution(seed)
    for mistake in exercise.mistakes:
        verdict = exercise.examine(mistake.apply(solution), seed)
        assert verdict.outcome is Outcome.NOT_YET, (mistake.name, repr(verdict))
        assert mistake.message in verdict.message, (mistake.name, repr(verdict))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_slot_is_torn(seed: int) -> None:
    torn = importlib.import_module("mklab.lab.lab08.torn")
    facts = torn._facts(seed)
    assert facts["type_from"] != facts["sender_cpu"] == facts["size_from"]
    assert len(facts["text"]) == 6
