"""Exercise 01.6: kernel 1 dies after a load that returned 0. Which load was it? The machine is the student's own."""

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import PAGE_SIZE, KexecSegment, LoadedImage
from mklab.lab import forms
from mklab.lab.defects.stage import booted, outcome
from mklab.lab.driver import MachineDriver
from mklab.lab.forms.values import Value, Wrong
from mklab.machine.machine import Machine
from mklab.trace import PlatformReset, Shutdown, Step

__all__ = ["Case", "case", "overwritten"]

_A = 0x2000000
_WINDOW = 0x200000
_OVERWRITTEN = 8 * PAGE_SIZE
_NOPS = b"\x90" * 64
_LOAD, _MESSAGE = 18, 18
"""Events from one load to the same step of the next, and from the message to the shutdown."""
_LOOK = "Compare the addresses in the words of each copy step with the memory of kernel 1."
_TOUCHES = "That segment begins where the memory of kernel 1 ends: to touch is no harm. Ends are exclusive."


@dataclass
class Case:
    """A machine on which kernel 1 was started, four images were loaded, and kernel 1 got a message.

    Attributes:
        begin: number of the first event after kernel 1 was up.
        driver: for pictures.
        memory: first address of kernel 1's memory, and first address behind it.
    """

    begin: int
    driver: MachineDriver
    memory: tuple[int, int]

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.driver.machine

    @property
    def story(self) -> str:
        """What happened after kernel 1 was up: the steps of each load, and the end."""
        lines = []
        for event in self.machine.trace.events:
            if event.seq < self.begin:
                continue
            if isinstance(event, Step):
                words = f"{event.function}: {event.step}: {event.detail}"
            elif isinstance(event, Shutdown):
                words = f"CPU {event.cpu} shuts down: {event.why}"
            elif isinstance(event, PlatformReset):
                words = "the platform is reset"
            else:
                continue
            lines.append(f"event {event.seq:>5}  {words}")
        return "\n".join(lines)


def _plan(seed: int) -> tuple[int, list[list[tuple[int, int]]], int]:
    """The CPU of kernel 1; the two segments, ``(mem, memsz)``, of each of four images; which image is the culprit."""
    chance = Random(seed)  # noqa: S311  # no secret
    cpu, culprit = chance.randrange(1, 4), chance.randrange(4)
    image = minikernel_image(_A, 1, [cpu])
    tables, end = image.symbols["page_tables"] & -PAGE_SIZE, _A + image.segments[0].memsz
    loads = []
    for number in range(4):
        first = 0x3000000 + number * _WINDOW + chance.randrange(64) * PAGE_SIZE
        loads.append([(first, chance.randrange(1, 9) * PAGE_SIZE), (first + 0x100000, PAGE_SIZE)])
    loads[culprit][1] = (tables - chance.randrange(1, 6) * PAGE_SIZE, _OVERWRITTEN)
    # It touches the memory of kernel 1, and harms nobody.
    loads[(culprit + 2) % 4][1] = (end, chance.randrange(1, 5) * PAGE_SIZE)
    return cpu, loads, culprit


def _kernel_1(seed: int) -> LoadedImage:
    return minikernel_image(_A, 1, [_plan(seed)[0]])


def _memory(seed: int) -> tuple[int, int]:
    return _A, _A + _kernel_1(seed).segments[0].memsz


def _happen(host: Host, seed: int) -> int:
    """Let it all happen; number of the first event after kernel 1 was up."""
    cpu, loads, _ = _plan(seed)
    host.cpu_down(cpu)
    host.load(_kernel_1(seed))
    host.multikernel_kexec(cpu)
    host.wait_online("kernel 1", cpu)
    host.settle()
    begin = host.machine.trace.count
    for segments in loads:
        host.kexec_load(segments[0][0], [KexecSegment(_NOPS, *one) for one in segments])
    outcome(host.multikernel_send_ipi_data, cpu, b"are you there?")
    return begin


def case(seed: int) -> Case:
    """The student's machine, as it stands at the end."""
    host = booted(4)
    driver = MachineDriver(host.machine)
    begin = _happen(host, seed)
    driver.seek(len(driver.film.looks) - 1)
    return Case(begin, driver, _memory(seed))


def given(seed: int) -> str:
    """Where kernel 1 lies and runs."""
    start, end = _memory(seed)
    return (
        f"Kernel 1 runs on CPU {_plan(seed)[0]}, in memory {start:#x} to {end:#x}. Then four images were loaded, of two"
        " segments each; every load returned 0. Then the host sent kernel 1 a message."
    )


@cache
def facts(seed: int) -> dict[str, Any]:
    """What the trace of the student's machine holds."""
    host = booted(4)
    begin = _happen(host, seed)
    start, end = _memory(seed)
    copies = [event for event in host.machine.trace.of(Step) if event.step == "copy" and event.seq >= begin]
    (cause,) = (event for event in copies if start <= _address(event) < end)
    (crash,) = host.machine.trace.of(Shutdown)
    return {"cause": cause.seq, "crash": crash.seq, "first": _address(cause)}


def _address(copy: Step) -> int:
    return int(copy.detail.rpartition("0x")[2], 16)


overwritten = forms.values(
    "01.6",
    "Who killed kernel 1?",
    "diagnose",
    facts,
    (
        Value("cause", "the number of the event that changed the memory of kernel 1", _LOOK, decimal=True),
        Value(
            "crash",
            "the number of the event at which CPU and kernel end",
            "Look for 'shuts down' in the story.",
            decimal=True,
        ),
        Value(
            "first",
            "the lowest address in the memory of kernel 1 that was overwritten",
            "The copy step says at which address its pages begin. What the CPU could not read lies further on.",
        ),
    ),
    (
        "Start from the end: what could the CPU no longer read? Then look for who stored there last.",
        "Compare the range of each copy step with the memory of kernel 1. Ends are exclusive: to touch is no harm.",
        "cause is the event of a copy step, first the address in its words, crash the event of the shutdown.",
    ),
    (
        Wrong(
            "cause and crash exchanged",
            lambda right: {"cause": right["crash"], "crash": right["cause"]},
            "You have the two exchanged: the copying came first, and the shutdown much later.",
        ),
        Wrong(
            "the crash",
            lambda right: {"cause": right["crash"]},
            "That is where it shows: the CPU could not read its own page tables any more. They were gone long before."
            " Who stored there last?",
        ),
        Wrong(
            "the step that lists the image",
            lambda right: {"cause": right["cause"] + 3},
            "That step put an image into the list, and no byte of an image moves there. You are close.",
        ),
        Wrong(
            "the other segment of that image",
            lambda right: {"cause": right["cause"] - 3},
            "That step copied the first segment of this image, into free memory. It has another segment.",
        ),
        Wrong("an earlier load that touches", lambda right: {"cause": right["cause"] - 2 * _LOAD}, _TOUCHES),
        Wrong("a later load that touches", lambda right: {"cause": right["cause"] + 2 * _LOAD}, _TOUCHES),
        Wrong(
            "the message",
            lambda right: {"cause": right["crash"] - _MESSAGE},
            "That is where the host sends its message, which does no more than wake the CPU. What it needed was gone by"
            " then.",
        ),
        Wrong(
            "the reset",
            lambda right: {"crash": right["crash"] + 1},
            "That is the platform: the chipset resets it because a CPU has shut down. The CPU ended one event earlier.",
        ),
        Wrong(
            "the message is the end",
            lambda right: {"crash": right["crash"] - _MESSAGE},
            "That is where the host sends its message. The CPU wakes, and ends later.",
        ),
        Wrong(
            "the end of the overwriting",
            lambda right: {"first": right["first"] + _OVERWRITTEN},
            "That is where the overwriting ended: the first address behind the segment.",
        ),
    ),
    passed="The load cleared pages in the middle of kernel 1, its page tables among them. It returned 0, and kernel 1"
    " slept on: only the next message woke the CPU, which then could not read its own tables, nor those of the fault"
    " handlers. The triple fault reset the platform, the host with it.",
    given=given,
)
