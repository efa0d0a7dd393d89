"""Lab 06: what its exercises take for right is what the machine does, on every student's machine."""

import itertools

import pytest

from mklab.kernel.kimage import KIMAGE, KimageList
from mklab.kernel.layout import HOST_DATA
from mklab.kernel.list_head import ListCorruptionError
from mklab.kernel.proc import proc_multikernel
from mklab.lab.exercise import Exercise
from mklab.lab.guestcode import Frame, compiled
from mklab.lab.lab06 import KIMAGE_H, Started, case
from mklab.lab.lab06.linking import linking, machine_for_lists
from mklab.lab.lab06.removal import removal
from mklab.lab.lab06.spoilt import spoilt
from mklab.lab.lab06.table import CASES
from mklab.lab.lab06.walker import LISTS, good_nodes, made, walker
from mklab.lab.lab06.walking import walking
from mklab.lab.verdict import Outcome


def test_what_the_prediction_says() -> None:
    run = Started()
    run.run()
    assert [cpu.owner for cpu in run.machine.cpus[2:]] == ["kernel 1", "kernel 1"]
    assert [cpu.planned for cpu in run.machine.cpus[2:]] == ["kernel 1", "kernel 2"]


def test_the_tables_are_those_of_the_machine() -> None:
    """Each case of 06.5, laid into memory: /proc/multikernel says what the exercise takes for right."""
    for one in CASES:
        kimages = KimageList(machine_for_lists().memory)
        kimages.initialise()
        for kind, start, nr_segments in one.args[0]:
            image = kimages.allocate()
            assert image is not None
            for name, value in (("type", kind), ("start", start), ("nr_segments", nr_segments)):
                image.set(name, value)
            kimages.add_to_list(image)
        assert proc_multikernel(kimages) == one.expected, one.name


def test_the_header_has_the_hosts_layout() -> None:
    """The compiler itself compares the offsets: a struct that differed would not compile."""
    text = '#include "kimage.h"\nunsigned long f(void) { return __builtin_offsetof(struct kimage, list.prev); }'
    data = compiled(text, "c", frame=Frame(sources=(("kimage.h", KIMAGE_H),))).data
    assert KIMAGE.offsets["list_prev"].to_bytes(4, "little") in data
    assert "Static_assert" in KIMAGE_H


@pytest.mark.parametrize("exercise", [walking, spoilt], ids=lambda one: one.id)
@pytest.mark.parametrize("seed", [3, 4])
def test_everybodys_numbers(exercise: Exercise, seed: int) -> None:
    solution = exercise.solution(seed)
    assert exercise.examine(solution, seed).passed
    for mistake in exercise.mistakes:
        verdict = exercise.examine(mistake.apply(solution), seed)
        assert verdict.outcome is Outcome.NOT_YET
        assert mistake.message in verdict.message, mistake.name


@pytest.mark.parametrize("seed", [0, 3])
def test_a_spoilt_list_never_ends_and_is_mended_by_the_answer(seed: int) -> None:
    found = case(seed)
    assert "runs in a circle" in found.proc
    with pytest.raises(ListCorruptionError):
        found.host.proc_multikernel()
    values = dict(line.split(" = ") for line in spoilt.solution(seed).splitlines())
    found.host.machine.poke(int(values["pointer"], 0), int(values["good"], 0).to_bytes(8, "little"))
    assert found.host.proc_multikernel().count("0x") == len(list(found.host.kimages))


@pytest.mark.parametrize("seed", [0, 4])
def test_one_store_of_three_went_into_the_list(seed: int) -> None:
    found = case(seed)
    values = dict(line.split(" = ") for line in spoilt.solution(seed).splitlines())
    nodes: list[int] = []
    node = HOST_DATA  # along prev, which nobody has touched
    while not nodes or node != HOST_DATA:
        nodes.append(node)
        node = found.host.machine.memory.read_u64(node + 8)
    stores = [line.split() for line in found.stores.splitlines()]
    assert len(stores) == 3
    assert [(one[3], one[-1]) for one in stores if int(one[-1], 0) in nodes] == [(values["cpu"], values["pointer"])]
    assert len({one[5] for one in stores}) == 1


def test_the_lists_differ_in_what_is_wrong() -> None:
    good = [len(good_nodes(made(number, spoil))) for _, number, spoil in LISTS]
    assert good == [3, 0, 200, 3, 4, 3, 2, 2, 2, 0, 1, 3]


def test_every_removal_is_judged_by_what_it_does() -> None:
    """What works: both stores within the mutex, and the memory freed when nothing leads to it any more."""
    for letters in itertools.permutations("ABCEF"):
        at = {letter: number for number, letter in enumerate(letters)}
        stores = (at["B"], at["F"])
        works = at["E"] < min(stores) and max(stores) < min(at["C"], at["A"])
        verdict = removal.examine(f'order = "{"".join(letters)}"')
        assert verdict.outcome in (Outcome.PASSED, Outcome.NOT_YET), repr(verdict)
        assert verdict.passed == works, (letters, repr(verdict))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return None", "did not return a list"),
        ("return [head]", "holds the head itself"),
        ("return [1, 2, 3]", "not those of the list"),
        ("while True:\n        memory.read_u64(head)", "round and round"),
        ("return memory.read_u64(-8)", "read where no memory is"),
    ],
)
def test_a_walk_that_makes_no_sense(body: str, words: str) -> None:
    verdict = walker.examine(f"def walk(head, memory):\n    {body}\n")
    assert verdict.outcome is Outcome.NOT_YET
    assert words in verdict.message


def test_code_that_spoils_a_kimage() -> None:
    text = """#include "kimage.h"
void kimage_add_to_list(struct kimage *image, struct list_head *head)
{
    image->start = (unsigned long)head;
}
"""
    verdict = linking.examine(text)
    assert "written over the fields of kimage 1" in verdict.message
    # Its third byte is the first that differs: 0x3000000 becomes the head's address.
    assert f"{HOST_DATA + 0x1000 + KIMAGE.offsets['start'] + 2:#x}" in verdict.message
