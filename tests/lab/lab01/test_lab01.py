"""Lab 01: what its exercises take for right is what the machine does, on every student's machine."""

import itertools
import struct
from pathlib import Path

import pytest

from mklab.kernel import kexec_bzimage64
from mklab.kernel.bootparam import HDR_OFFSET, SetupHeader
from mklab.kernel.kexec import KexecSegment
from mklab.lab.defects.stage import booted, outcome
from mklab.lab.lab01 import DEBIAN, Loading, load_steps
from mklab.lab.lab01.bzimage import TRIALS, bzimage, small_image
from mklab.lab.lab01.clobbers import clobbers
from mklab.lab.lab01.loadpath import loadpath
from mklab.lab.lab01.overwritten import overwritten
from mklab.lab.lab01.sanity import CASES, RAM_PAGES, sanity
from mklab.lab.lab01.tail import tail
from mklab.lab.verdict import Outcome


def test_the_checks_are_those_of_the_machine() -> None:
    """Each case of 01.2, loaded: kexec_load says what the exercise takes for right."""
    host = booted(1, ram=RAM_PAGES << 12)
    for case in CASES:
        segments = [KexecSegment(bytes(bufsz), mem, memsz) for mem, memsz, bufsz in case.args[0]]
        assert outcome(host.kexec_load, 0x2000000, segments) == case.expected, case.name


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_tail_is_everybodys_own(seed: int) -> None:
    solution = tail.solution(seed)
    assert tail.examine(solution, seed).passed
    assert solution != tail.solution(seed + 1)
    for mistake in tail.mistakes:
        verdict = tail.examine(mistake.apply(solution), seed)
        assert verdict.outcome is Outcome.NOT_YET
        assert mistake.message in verdict.message


@pytest.mark.parametrize("seed", [3, 4])
def test_a_dead_kernel_is_everybodys_own(seed: int) -> None:
    solution = overwritten.solution(seed)
    assert overwritten.examine(solution, seed).passed
    for mistake in overwritten.mistakes:
        verdict = overwritten.examine(mistake.apply(solution), seed)
        assert verdict.outcome is Outcome.NOT_YET
        assert mistake.message in verdict.message


def test_the_steps_shown_are_those_of_the_last_load() -> None:
    run = Loading()
    run.run()
    lines = load_steps(run.machine).splitlines()
    assert "check" in lines[0]
    assert "kernel 2 is in kexec_image_list" in lines[-2]
    assert all("0x3000000" in line for line in lines if " copy " in line)


def test_every_order_of_the_six_lines_is_judged_by_what_it_does() -> None:
    """What works follows from what each line needs: nobody else may be let in from the copy to the list."""

    def works_by_need(letters: tuple[str, ...]) -> bool:
        at = {letter: number for number, letter in enumerate(letters)}
        first, last = min(at["A"], at["E"]), max(at["A"], at["E"])
        return at["H"] < at["D"] < first and at["G"] < first and at["C"] > last

    every = list(itertools.permutations("GHDAEC"))
    working = [letters for letters in every if works_by_need(letters)]
    assert len(working) == 6
    # Each order boots a host: all that work, and every eleventh of the others.
    for letters in {*working, *every[::11]}:
        works = letters in working
        verdict = loadpath.examine(f'order = "{"".join(letters)}"')
        assert verdict.outcome in (Outcome.PASSED, Outcome.NOT_YET), repr(verdict)
        assert verdict.passed == works, (letters, repr(verdict))


def test_the_recorded_header_is_a_kernels() -> None:
    assert DEBIAN.read(0x202, 4) == b"HdrS"
    header = SetupHeader.from_buffer_copy(DEBIAN.read(HDR_OFFSET, 0x7B))
    assert DEBIAN.read(0x200 + header.kernel_version, 6) == b"6.1.0-"
    payload = kexec_bzimage64.protected_mode_offset(header) + header.payload_offset
    assert DEBIAN.read(payload, 4) == bytes.fromhex("02214c18")
    with pytest.raises(ValueError, match="must lie within 0x1f1 to 0x26c"):
        DEBIAN.read(0x1000, 4)


def test_the_answer_holds_for_a_real_kernel(debian_kernel: Path) -> None:
    """Whatever kernel Debian has today: the solution's numbers are those that its loader uses."""
    file = debian_kernel.read_bytes()
    if len(file) == DEBIAN.size:
        assert all(file[start : start + len(data)] == data for start, data in DEBIAN.parts)
    names: dict[str, object] = {}
    exec(bzimage.solution(), names)
    code, entry, payload = names["dissect"](file, 0x2000000)  # type: ignore[operator]
    loaded = kexec_bzimage64.load(file, base=0x2000000, ram=[(0, 1 << 30, 1)])
    (kernel,) = (one for one in loaded.segments if one.name == "kernel")
    assert file[code:] == kernel.buf
    assert entry == loaded.entry
    assert file[payload : payload + 2] in (b"\x02\x21", b"\xfd\x37", b"\x28\xb5", b"\x1f\x8b")


def test_a_small_image_is_one_that_kexec_takes() -> None:
    for _, setup_sects, payload_offset, _ in TRIALS:
        image = small_image(setup_sects, payload_offset)
        header = kexec_bzimage64.probe(image)
        assert (header.setup_sects, header.payload_offset) == (setup_sects, payload_offset)
        first = kexec_bzimage64.protected_mode_offset(header) + 0x200
        assert struct.unpack_from("<I", image, first + 9)[0] == first // 512


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("return None", "returned None"),
        ("return 1, 2", "did not return three numbers"),
        ("return 1, 2, 'x'", "did not return three numbers"),
        ("return 10**20, load + 0x200, 0", "begins at offset 0x56bc75e2d63100000"),
        ("return 0x5000, load + 10**20, 0", "was loaded at 0x2000000"),
        ("return 0x5000, load + 0x200, -4", "nothing: the file ends before"),
        ("return image[10**9]", "raised IndexError"),
    ],
)
def test_a_dissection_that_makes_no_sense(answer: str, words: str) -> None:
    verdict = bzimage.examine(f"def dissect(image, load):\n    {answer}\n")
    assert verdict.outcome is Outcome.NOT_YET
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [("return None", "a list of names"), ("return ['kernel 9']", "touches nobody"), ("return images[9]", "IndexError")],
)
def test_a_guard_that_makes_no_sense(answer: str, words: str) -> None:
    verdict = clobbers.examine(f"def clobbers(images, segments):\n    {answer}\n")
    assert verdict.outcome is Outcome.NOT_YET
    assert words in verdict.message


def test_a_check_that_raises() -> None:
    verdict = sanity.examine("def sanity_check_segment_list(segments, ram_pages):\n    return segments.mem\n")
    assert "AttributeError" in verdict.message
