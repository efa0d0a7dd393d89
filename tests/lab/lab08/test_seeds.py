"""Exercises 08.3 and 08.4: each student's numbers have one answer, and it can be found from what is given."""

import importlib
import re

import pytest

from mklab.lab import exercises

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


@pytest.mark.parametrize("seed", SEEDS)
def test_the_slot_is_torn(seed: int) -> None:
    torn = importlib.import_module("mklab.lab.lab08.torn")
    facts = torn._facts(seed)
    assert facts["type_from"] != facts["sender_cpu"] or facts["size_from"] != facts["sender_cpu"]
    assert len(facts["text"]) == 6
