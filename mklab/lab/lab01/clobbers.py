"""Exercise 01.7: the check that v1 lacks. The answer guards a host on which three kernels run and one waits."""

from typing import Any

from mklab.errors import MklabError
from mklab.guest.abi import MK_PONG
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KexecSegment
from mklab.lab.checking.answer import Answer, AnswerError
from mklab.lab.defects.stage import booted
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.verdict import Outcome, Verdict
from mklab.trace import MessageTaken

__all__ = ["clobbers"]

Segments = list[tuple[int, int]]

_BASES = (0x2000000, 0x2100000, 0x2200000)
_WAITING: Segments = [(0x2400000, 0x4000), (0x2480000, 0x2000)]
"""Kernel 4 is loaded and not started."""
_SPAN = """def _span(own):
    return own[0][0], own[-1][0] + own[-1][1] - own[0][0]
def clob"""


def _kernels(host: Host) -> dict[str, Segments]:
    """Kernels 1 to 3 run on CPUs 1 to 3, kernel 4 is loaded; what each occupies."""
    occupied: dict[str, Segments] = {}
    for number, base in enumerate(_BASES, start=1):
        image = minikernel_image(base, number, [number], memory=[(base, base + 0x100000)])
        host.cpu_down(number)
        host.load(image)
        host.multikernel_kexec(number)
        host.wait_online(f"kernel {number}", number)
        host.kexec_load(0, [])
        occupied[f"kernel {number}"] = [(one.mem, one.memsz) for one in image.segments]
    host.kexec_load(_WAITING[0][0], [KexecSegment(b"\xf4", *one) for one in _WAITING])
    return {**occupied, "kernel 4": _WAITING}


def _trials(occupied: dict[str, Segments]) -> list[tuple[str, Segments]]:
    """Images to be loaded, in this order, each with a name."""
    first, size = occupied["kernel 1"][0]
    second, third = occupied["kernel 2"][0][0], occupied["kernel 3"][0][0]
    return [
        ("in free memory", [(0x3000000, 0x2000)]),
        ("over kernel 3, the newest that runs", [(third + 0xA9000, 0x2000)]),
        ("over kernel 1, the oldest", [(first + 0xA9000, 0x2000)]),
        ("that begins where kernel 1 ends", [(first + size, 0x1000)]),
        ("that ends where kernel 2 begins", [(second - 0x2000, 0x2000)]),
        ("whose second segment lies over kernel 2", [(0x3000000, 0x1000), (second + 0xA9000, 0x1000)]),
        ("that begins before kernel 2 and ends behind it", [(second - 0x1000, size + 0x3000)]),
        ("between the segments of kernel 4, which is loaded only", [(0x2440000, 0x3000)]),
        ("over the second segment of kernel 4", [(0x2481000, 0x1000)]),
        ("over kernels 1 and 2", [(first + 0xA9000, second - first)]),
    ]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[0] + one[1], other[0] + other[1])


def judge(answer: Answer, _seed: int) -> Verdict:
    """Ask the student's function before each load; load what it lets through."""
    host = booted(4)
    occupied = _kernels(host)
    trials = _trials(occupied)
    images = [(name, list(segments)) for name, segments in occupied.items()]
    for name, segments in trials:
        where = f"an image {name}: {', '.join(f'{mem:#x} to {mem + size:#x}' for mem, size in segments)}"
        victims = [one for one, own in occupied.items() if any(_overlap(a, b) for a in own for b in segments)]
        try:
            found = answer.call("clobbers", images, segments)
        except AnswerError as error:
            if error.kind == "raised" and error.type not in ("SyntaxError", "NameError"):
                return not_yet(
                    f"Your function raised {error.type}: {error}.", where, "images are (name, segments) pairs."
                )
            raise
        verdict = _shape(found, where) or _judged(host, found, victims, segments, where)
        if verdict is not None:
            return verdict
    refused = sum(any(_overlap(a, b) for own in occupied.values() for a in own for b in new) for _, new in trials)
    return Verdict(
        Outcome.PASSED,
        f"Your check let {len(trials) - refused} images through and stopped {refused}; kernels 1, 2 and 3 live on.",
        next_step="v1 cannot do this: an unloaded image has left the list, though its kernel runs on. Somebody would"
        " have to keep a record of who owns what.",
    )


def _shape(found: Any, where: str) -> Verdict | None:
    if isinstance(found, (list, tuple)) and all(isinstance(one, str) for one in found):
        return None
    return not_yet(
        "Your function did not return a list of names.",
        where,
        "Return the names of the images that the load would write over; an empty list where there are none.",
        expected="a list of names",
        got=repr(found)[:100],
    )


def _judged(host: Host, found: list[str], victims: list[str], segments: Segments, where: str) -> Verdict | None:
    if not found and victims:
        _load(host, segments)
        return not_yet(
            f"You let it through, and the load returned 0. {_fate(host, victims)}",
            where,
            "Compare every segment of the new image with every segment of every image, the oldest as well.",
            expected=str(victims),
            got="[]",
        )
    if found and not victims:
        return not_yet(
            f"You stopped an image that touches nobody: you said it lies over {', '.join(found)}.",
            where,
            "Write both ranges down. Is there one byte that lies in both? Ends are exclusive.",
            expected="[]",
            got=str(list(found)),
        )
    if list(found) != victims:
        return not_yet(
            f"It lies over {' and '.join(victims)}; you named {', '.join(found)}.",
            where,
            "Name each victim once, in the order of images.",
            expected=str(victims),
            got=str(list(found)),
        )
    if not victims:
        _load(host, segments)
    return None


def _load(host: Host, segments: Segments) -> None:
    host.kexec_load(segments[0][0], [KexecSegment(b"\xf4" * 16, *one) for one in segments])


def _fate(host: Host, victims: list[str]) -> str:
    """What has become of the first victim: it is sent a message, or, if it does not run yet, started."""
    name = victims[0]
    number = int(name.split()[1])
    if name == "kernel 4":
        mem, size = _WAITING[1]
        return (
            f"Kernel 4 is not started yet; when it is, it will find other bytes than its own in {mem:#x} to"
            f" {mem + size:#x}."
        )
    begin = host.machine.trace.count
    try:
        host.multikernel_send_ipi_data(number, b"ping")
        host.settle()
    except MklabError as error:
        ended = str(error).partition(": ")[2].removesuffix("; boot a host again.")
        return f"Then {name} got a message, and {ended}."
    answers = [one for one in host.machine.trace.of(MessageTaken) if one.seq >= begin and one.type == MK_PONG]
    state = "answered" if answers else "did not answer"
    return f"Then {name} got a message, and {state}."


clobbers = Exercise(
    "01.7",
    "The check that is missing",
    "python",
    judge,
    (
        "Two loops are given by the question: every segment of the new image, every segment of every image.",
        "Two segments overlap where each begins before the other ends. Ends are exclusive: to touch is no overlap.",
        "[name for name, own in images if any(a < b + m and b < a + n for a, n in own for b, m in segments)]",
    ),
    (
        Mistake("the newest only", (("in images if", "in images[-1:] if"),), "You let it through"),
        Mistake("the oldest only", (("in images if", "in images[:1] if"),), "You let it through"),
        Mistake("touching", (("a < b + m and b < a + n", "a <= b + m and b <= a + n"),), "touches nobody"),
        Mistake("the first segment of the new image only", (("in segments)", "in segments[:1])"),), "You let it"),
        Mistake("the first segment of each image only", (("in own for", "in own[:1] for"),), "Kernel 4 is not started"),
        Mistake(
            "only where the new segment begins inside",
            (("a < b + m and b < a + n", "a <= b < a + n"),),
            "kernel 2 got a message",
        ),
        Mistake(
            "an image as one range", (("in own for", "in [_span(own)] for"), ("def clob", _SPAN)), "touches nobody"
        ),
        Mistake(
            "yes or no", (("[name for", "bool([name for"), ("lies_over(own)]", "lies_over(own)])")), "a list of names"
        ),
    ),
    alternatives=(
        """
def clobbers(images, segments):
    found = []
    for name, own in images:
        hit = False
        for start, size in own:
            for mem, memsz in segments:
                if not (mem + memsz <= start or start + size <= mem):
                    hit = True
        if hit:
            found.append(name)
    return found
""",
    ),
)
