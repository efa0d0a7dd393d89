"""Exercise 06.7: reading /proc/multikernel never ends. Who has done it? The machine is the student's own."""

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from mklab.guest.abi import Work
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KexecSegment
from mklab.kernel.layout import HOST_DATA
from mklab.lab import forms
from mklab.lab.defects.stage import booted, outcome
from mklab.lab.driver import MachineDriver
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.lab06.kimage_h import LIST_OFFSET
from mklab.trace import Input

__all__ = ["Case", "case", "spoilt"]

_A = 0x2000000
_PAGE = 4096
_UNLOADED = HOST_DATA + 0x1000 + LIST_OFFSET
"""The list_head in the kimage of kernel 1, which was unloaded: it is in no list."""
_HARMLESS = (
    "No store of that CPU went into the list as it is now. Compare the address of each store with the nodes that a walk"
    " from the head meets."
)


@dataclass(frozen=True)
class _Plan:
    """What happens on a student's machine.

    Attributes:
        cpus: of kernels 1 and 2.
        images: how many images are loaded after them.
        rogue: the kernel whose code stores into the list.
        node, target: the kimages, from 0 in the list's order, whose ``next`` is spoilt, and to which it leads then.
        before: how many stores that do no harm come before that one: 0 to 2.
    """

    cpus: tuple[int, int]
    images: int
    rogue: int
    node: int
    target: int
    before: int


def _plan(seed: int) -> _Plan:
    chance = Random(seed)  # noqa: S311  # no secret
    first, second = chance.sample((1, 2, 3), 2)
    images = chance.randrange(4, 7)
    node = chance.randrange(2, images - 1)
    rogue, target = chance.randrange(1, 3), chance.randrange(1, node)
    return _Plan((first, second), images, rogue, node, target, chance.randrange(3))


@dataclass
class Case:
    """A machine on which two kernels run, images are loaded, and somebody has stored into kexec_image_list.

    Attributes:
        host: the host.
        driver: for pictures.
    """

    host: Host
    driver: MachineDriver

    @property
    def proc(self) -> str:
        """What becomes of reading /proc/multikernel."""
        return outcome(self.host.proc_multikernel)

    @property
    def stores(self) -> str:
        """What the two kernels have stored, oldest first."""
        lines = []
        for event in self.host.machine.trace.of(Input):
            values = event.args.get("values", {})
            if values.get("work") != Work.STORE:
                continue
            value = int.from_bytes(bytes.fromhex(values["data"]), "little")
            lines.append(f"event {event.seq:>5}  CPU {event.args['cpu']} stores {value:#x} at {values['args'][0]:#x}")
        return "\n".join(lines)


def _happen(host: Host, plan: _Plan) -> None:
    """Let it all happen."""
    for number, cpu in enumerate(plan.cpus, start=1):
        base = _A + (number - 1) * 0x100000
        host.cpu_down(cpu)
        host.load(minikernel_image(base, number, [cpu], memory=[(base, base + 0x100000)]))
        host.multikernel_kexec(cpu)
        host.wait_online(f"kernel {number}", cpu)
        host.kexec_load(0, [])
    for number in range(plan.images):
        mem = 0x3000000 + number * 0x100000
        host.kexec_load(mem, [KexecSegment(b"\xf4", mem, _PAGE)])
    nodes = list(host.kimages.list)
    assert _UNLOADED not in nodes
    other = 3 - plan.rogue
    # The other kernel stores into its own memory, and into a kimage that no pointer of the list leads to any more.
    stores = [(other, _A + (other - 1) * 0x100000 + 0xF0000), (other, _UNLOADED)]
    stores.insert(plan.before, (plan.rogue, nodes[plan.node]))
    for number, address in stores:
        host.kernel(f"kernel {number}").store(address, nodes[plan.target].to_bytes(8, "little"))


def case(seed: int) -> Case:
    """The student's machine, as it stands at the end."""
    host = booted(4)
    driver = MachineDriver(host.machine)
    _happen(host, _plan(seed))
    driver.seek(len(driver.film.looks) - 1)
    return Case(host, driver)


def given(seed: int) -> str:
    """Who runs where."""
    plan = _plan(seed)
    return (
        f"Kernel 1 runs on CPU {plan.cpus[0]}, kernel 2 on CPU {plan.cpus[1]}, the host on the others."
        f" {plan.images} images were loaded; the list's head is at {HOST_DATA:#x}. In a kimage, list lies"
        f" {LIST_OFFSET:#x} bytes behind the beginning."
    )


@cache
def facts(seed: int) -> dict[str, Any]:
    """What the machine holds."""
    plan = _plan(seed)
    host = booted(4)
    _happen(host, plan)
    # Along prev the list is as it was: nobody has touched those pointers.
    backward = [HOST_DATA]
    while (node := host.machine.memory.read_u64(backward[-1] + 8)) != HOST_DATA:
        backward.append(node)
    nodes = backward[:0:-1]
    return {"cpu": plan.cpus[plan.rogue - 1], "pointer": nodes[plan.node], "good": nodes[plan.node + 1]}


spoilt = forms.values(
    "06.7",
    "A table without an end",
    "diagnose",
    facts,
    (
        Value(
            "cpu",
            "the number of the CPU that has stored there",
            "Which of the stores went to a pointer that a walk from the head meets?",
        ),
        Value("pointer", "the address of the pointer that was spoilt", "Which next leads back into the list?"),
        Value("good", "the value that would mend it", "The pointers prev are whole. Whose prev leads to this node?"),
    ),
    (
        "Walk along next until you meet a node for the second time: the pointer that led there is the one.",
        "In a whole list, next of one node and prev of the following one lead to each other. prev is still in order.",
        "good is the address of the list_head whose prev is pointer: walk from the head along prev. cpu is the one"
        " whose store went to pointer.",
    ),
    (
        Wrong(
            "the CPU that reads",
            {"cpu": 0},
            "CPU 0 reads the file, and there it shows. It only follows what somebody else has stored.",
        ),
        Wrong(
            "a CPU that did no harm",
            lambda right: {"cpu": right["cpu"] % 3 + 1},
            _HARMLESS,
        ),
        Wrong(
            "another CPU that did no harm",
            lambda right: {"cpu": (right["cpu"] + 1) % 3 + 1},
            _HARMLESS,
        ),
        Wrong(
            "the kimage that was unloaded",
            {"pointer": _UNLOADED},
            "That is next in a kimage that was unloaded before the others came. No pointer of the list leads there.",
        ),
        Wrong(
            "where it leads",
            lambda right: {"pointer": right["good"], "good": right["pointer"]},
            "You have the two exchanged: pointer is where the wrong value stands, good what should stand there.",
        ),
        Wrong(
            "the kimage",
            lambda right: {"pointer": right["pointer"] - LIST_OFFSET},
            "That is where the kimage begins. The pointer is next in its member list.",
        ),
        Wrong(
            "prev",
            lambda right: {"pointer": right["pointer"] + 8},
            "That is prev of the same node, and prev is whole.",
        ),
        Wrong(
            "the head",
            {"good": HOST_DATA},
            "With that the walk would end, and the images behind this node would be lost. Who still has this node for"
            " its prev?",
        ),
        Wrong(
            "the kimage that follows",
            lambda right: {"good": right["good"] - LIST_OFFSET},
            "That is where the following kimage begins. A list leads to the list_head in it.",
        ),
    ),
    passed="A kernel that runs beside the host has stored eight bytes into the host's list. Nothing hindered it: its"
    " page tables map all memory. v1 has no check when it walks; only CONFIG_DEBUG_LIST looks, when a list is changed.",
    given=given,
)
