"""Checking segments, starting images, reboot(2): against a statement of the rules, and against a Linux with the RFC.

Ids such as d.go are those of the observations.
"""

from collections.abc import Callable

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from mklab.errors import KexecError, MklabError
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import (
    KEXEC_MULTIKERNEL,
    KEXEC_ON_CRASH,
    KEXEC_TYPE_CRASH,
    KEXEC_TYPE_DEFAULT,
    KEXEC_TYPE_MULTIKERNEL,
    KexecSegment,
)
from mklab.kernel.kexec_core import sanity_check_segment_list
from mklab.kernel.reboot import (
    LINUX_REBOOT_CMD_CAD_OFF,
    LINUX_REBOOT_CMD_CAD_ON,
    LINUX_REBOOT_CMD_KEXEC,
    LINUX_REBOOT_CMD_MULTIKERNEL,
)
from mklab.trace import Step
from tests.kernel.kexectools import HALT, A, B, count, count_at, load, printed, sound, tables

PAGE = 4096
MKLI = LINUX_REBOOT_CMD_MULTIKERNEL
Three = tuple[int, int, int]


# The rules, stated on sets of numbers: slow, and unlike the function under test.


def points(mem: int, memsz: int) -> set[int]:
    """The half pages strictly inside a segment; of an empty one, the place where it is."""
    return set(range(2 * mem // PAGE + 1, 2 * (mem + memsz) // PAGE)) or {2 * mem // PAGE}


def verdict(segments: list[Three], ram: int, kind: int, crash: tuple[int, int] | None) -> str | None:
    """The errno of the first rule that is broken, or None."""
    ends = [(mem + memsz) % 2**64 for mem, memsz, _ in segments]
    rules = [
        ("EADDRNOTAVAIL", [end >= mem for end, (mem, _, _) in zip(ends, segments, strict=True)]),
        ("EADDRNOTAVAIL", [mem % PAGE == end % PAGE == 0 for end, (mem, _, _) in zip(ends, segments, strict=True)]),
        ("EADDRNOTAVAIL", [end < 2**46 for end in ends]),
    ]
    for name, holds in rules:
        if not all(holds):
            return name
    shared = [
        points(*one[:2]) & points(*other[:2])
        for number, one in enumerate(segments)
        for other in segments[:number]
        if one[1] or other[1]
    ]
    pages = [memsz // PAGE for _, memsz, _ in segments]
    if any(shared) or any(bufsz > memsz for _, memsz, bufsz in segments):
        return "EINVAL"
    if any(2 * each > ram // PAGE for each in [*pages, sum(pages)]):
        return "EINVAL"
    if kind == KEXEC_TYPE_CRASH:
        first, after = crash or (0, 1)
        for mem, memsz, _ in segments:
            # The last byte of an empty segment at 0 is the last byte there is.
            last = (mem + memsz - 1) % 2**64
            if mem < first or last >= after:
                return "EADDRNOTAVAIL"
    return None


# Mostly what is well formed, so that the later rules come into play.
small = st.integers(0, 24).map(lambda page: page * PAGE)
chance = st.integers(0, 15)
addresses = st.tuples(
    chance,
    small,
    st.sampled_from([0x10, PAGE + 1, 2**46 - PAGE, 2**46 - 2 * PAGE, 2**46, 2**52, 2**64 - PAGE, 2**64 - 2 * PAGE]),
).map(lambda drawn: drawn[2] if drawn[0] == 0 else drawn[1])
sizes = st.tuples(
    chance,
    st.sampled_from([0, 1, 1, 1, 2, 3, 5, 8, 15, 16, 17]).map(lambda pages: pages * PAGE),
    st.sampled_from([1, PAGE - 1, PAGE + 1, 2**64 - PAGE]),
).map(lambda drawn: drawn[2] if drawn[0] == 0 else drawn[1])


@settings(deadline=None, max_examples=25)
@given(
    segments=st.lists(st.tuples(addresses, sizes, st.sampled_from([0, 0, 0, 0, 1, PAGE, 9 * PAGE])), max_size=5),
    kind=st.sampled_from([KEXEC_TYPE_DEFAULT, KEXEC_TYPE_CRASH, KEXEC_TYPE_MULTIKERNEL]),
    crash=st.none() | st.tuples(small, st.integers(1, 16)).map(lambda t: (t[0], t[0] + t[1] * PAGE)),
    ram=st.sampled_from([32 * PAGE, 33 * PAGE, 64 * PAGE]),
)
@example(segments=[(0, 0, 0)], kind=KEXEC_TYPE_CRASH, crash=None, ram=32 * PAGE)
def test_the_checks_are_the_rules(segments: list[Three], kind: int, crash: tuple[int, int] | None, ram: int) -> None:
    described = [{"mem": mem, "memsz": memsz, "bufsz": bufsz} for mem, memsz, bufsz in segments]
    found = None
    try:
        sanity_check_segment_list(described, ram, kind, crash)
    except KexecError as error:
        found = error.name
    event(str(found))
    assert found == verdict(segments, ram, kind, crash)


def run(host: Host, instructions: int = 30_000) -> None:
    """Let the machine run; payloads that spin never end it."""
    host.machine.run(instructions)


def runs(host: Host, base: int) -> bool:
    """Whether the payload at ``base`` counts on."""
    before = count_at(host, base)
    run(host)
    return count_at(host, base) > before


class TestKick:
    def test_messages_in_order(self, host: Host) -> None:
        """d.go."""
        host.cpu_down(1)
        load(host)
        before = len(printed(host))
        host.multikernel_kexec(1)
        assert printed(host)[before:] == [
            "kexec_core: multikernel kexec: cpu 1",
            "kexec_core: Found multikernel image with entry point: 0x2000000",
            "smpboot: ++++++++++++++++++++=_---CPU UP  1",
            "smpboot: do_multikernel_boot_cpu(apicid=1, cpu=1, kernel_start_address=2000000)",
            "smpboot: do_multikernel_boot_cpu end",
        ]
        run(host)
        assert host.machine.cpus[1].owner == "kernel 1"
        assert not host.cpu_online(1)

    @pytest.mark.parametrize("cpu", [1, 0])
    def test_an_online_cpu(self, host: Host, cpu: int) -> None:
        """d.online."""
        load(host)
        with pytest.raises(KexecError, match="-EBUSY"):
            host.multikernel_kexec(cpu)
        assert printed(host)[-2:] == [
            f"kexec_core: multikernel kexec: cpu {cpu}",
            "kexec_core: The CPU is currently running with this kernel instance.",
        ]

    def test_no_image(self, host: Host) -> None:
        """d.noimage; and an ordinary image is none."""
        host.cpu_down(1)
        load(host, flags=0)
        with pytest.raises(KexecError, match="-EINVAL"):
            host.multikernel_kexec(1)
        assert printed(host)[-1] == "kexec_core: No multikernel image loaded"
        sound(host)

    @pytest.mark.parametrize("cpu", [4, 5, 63, 65, 127, 128, 1000, 4095, 100000])
    def test_a_cpu_that_is_not_there(self, host: Host, cpu: int) -> None:
        """d.63."""
        load(host)
        before = tables(host)
        with pytest.raises(KexecError, match="-EINVAL"):
            host.multikernel_kexec(cpu)
        assert printed(host)[-1] == f"smpboot: CPU {cpu} has invalid APIC ID ffff. Aborting bringup"
        assert tables(host) == before

    def test_cpu_64(self, host: Host) -> None:
        """d.64 (defect 17): the bit behind a mask of 64 is another variable's."""
        load(host)
        with pytest.raises(KexecError, match="-EBUSY"):
            host.multikernel_kexec(64)
        assert printed(host)[-1] == "kexec_core: The CPU is currently running with this kernel instance."
        sound(host)

    def test_a_negative_cpu(self, host: Host) -> None:
        """d.-1 (defect 17): an oops; the caller is killed with the reboot lock held; kexec_load still works."""
        with pytest.raises(MklabError, match="multikernel_kexec did not return: oops: page fault"):
            host.multikernel_kexec(-1)
        for _ in range(2):
            with pytest.raises(MklabError, match="reboot did not return: it sleeps in state D for ever"):
                host.reboot(LINUX_REBOOT_CMD_CAD_OFF)
        load(host)
        assert host.kimages.state.get("kexec_lock") == 0


class TestReboot:
    def test_privilege_and_magic(self, host: Host) -> None:
        """d.nocap and d.magic, in Linux's order; nothing is held afterwards."""
        before = tables(host)
        for extra, name in (
            ({"privileged": False, "magic2": 1}, "EPERM"),
            ({"magic2": 1}, "EINVAL"),
            ({"magic1": 1}, "EINVAL"),
        ):
            with pytest.raises(KexecError) as caught:
                host.reboot(MKLI, cpu=1, **extra)  # type: ignore[arg-type]
            assert caught.value.name == name
        with pytest.raises(KexecError, match="-EINVAL"):
            host.reboot(0x1234)
        assert tables(host) == before
        for magic2 in (0x28121969, 0x05121996, 0x16041998, 0x20112000):
            host.reboot(LINUX_REBOOT_CMD_CAD_ON, magic2=magic2)

    def test_a_bad_pointer(self, host: Host) -> None:
        """d.badptr (defect 19): -EFAULT, and every later reboot(2) hangs; the rest of the host goes on."""
        with pytest.raises(KexecError, match="reboot: -EFAULT"):
            host.reboot(MKLI)
        for cmd in (LINUX_REBOOT_CMD_CAD_OFF, MKLI, LINUX_REBOOT_CMD_KEXEC):
            with pytest.raises(MklabError, match="in state D for ever"):
                host.reboot(cmd, cpu=1)
        host.multikernel_send_ipi_data(0, b"alive")
        host.settle()
        assert "message from CPU 0: alive" in host.machine.console("host")

    def test_every_refusal_releases_the_mutex(self, host: Host) -> None:
        load(host)
        for cpu in (0, 4, 64):
            with pytest.raises(KexecError):
                host.reboot(MKLI, cpu=cpu)
            assert host.kimages.state.get("system_transition_mutex") == 0
        host.cpu_down(1)
        host.reboot(MKLI, cpu=1)
        assert host.kimages.state.get("system_transition_mutex") == 0

    def test_one_waits_for_the_other(self, host: Host) -> None:
        """Two at once, from two CPUs: the second one does not find the kexec lock held, but its CPU missing."""
        host.cpu_down(2)
        load(host)
        values = {"magic1": 0xFEE1DEAD, "magic2": 0x28121969, "cmd": MKLI, "privileged": True}
        calls = [host.submit("reboot", {**values, "cpu": cpu}, via=via) for cpu, via in ((2, 0), (9, 1))]
        host.machine.run(1000, lambda _: bool(host.kimages.state.get("kexec_lock")))
        host.settle()
        assert [(call.done, call.errno) for call in calls] == [(True, 0), (True, 22)]
        assert any("waits" in step.detail for step in host.machine.trace.of(Step))
        assert host.machine.cpus[2].owner == "kernel 1"

    def test_without_the_mutex_kicks_exclude_each_other(self, host: Host) -> None:
        for cpu in (2, 3):
            host.cpu_down(cpu)
        load(host)
        calls = [host.submit("multikernel_kexec", {"cpu": cpu}, via=cpu - 2) for cpu in (2, 3)]
        host.settle()
        assert sorted(call.errno for call in calls) == [0, 16]
        sound(host)

    @pytest.mark.parametrize("bad", [-1, 1 << 32, "MKLI"])
    def test_numbers_that_do_not_fit(self, host: Host, bad: int) -> None:
        with pytest.raises(ValueError, match=r"cmd must be 0 to 4294967295 \(32 bits\), not"):
            host.reboot(bad)


class TestByEntry:
    """multikernel_kexec_by_entry: in v1 nothing calls it."""

    def test_reaches_the_second_image(self, host: Host) -> None:
        host.cpu_down(1)
        load(host, A, count(A))
        load(host, B, count(B))
        host.multikernel_kexec_by_entry(1, B)
        assert runs(host, B)
        assert count_at(host, A) == 0
        lines = [line for line in printed(host) if "entry" in line]
        assert lines[-2:] == [
            "kexec_core: multikernel kexec: cpu 1, entry 0x2100000",
            "kexec_core: Using multikernel image with entry point: 0x2100000",
        ]

    def test_equal_entries_are_one(self, host: Host) -> None:
        """Defect 22."""
        for _ in range(2):
            load(host)
        host.cpu_down(1)
        call = host.submit("multikernel_kexec_by_entry", {"cpu": 1, "entry": A})
        host.settle()
        assert call.values["image"] == next(iter(host.kimages)).paddr

    def test_refusals(self, host: Host) -> None:
        load(host)
        load(host, B, flags=0)
        host.cpu_down(1)
        with pytest.raises(KexecError, match="-EBUSY"):
            host.multikernel_kexec_by_entry(2, A)
        for entry in (A + 1, B):
            with pytest.raises(KexecError, match="-EINVAL"):
                host.multikernel_kexec_by_entry(1, entry)
            assert printed(host)[-1] == f"kexec_core: No multikernel image found with entry point 0x{entry:x}"
        sound(host)


class TestTwoImages:
    def test_the_oldest_is_started_always(self, host: Host) -> None:
        """e.two (defect 21), then e.unload and e.switch: both run A; both run on; CPU 2 leaves it for B."""
        for cpu in (1, 2):
            host.cpu_down(cpu)
        load(host, A, count(A))
        load(host, B, count(B))
        for cpu in (1, 2):
            host.multikernel_kexec(cpu)
            run(host)
        assert [host.machine.cpus[cpu].owner for cpu in (1, 2)] == ["kernel 1"] * 2
        assert count_at(host, B) == 0
        host.kexec_load(0, [])
        assert printed(host)[-1] == "kexec: Unloaded 2 multikernel images"
        assert runs(host, A)
        load(host, B, count(B))
        host.multikernel_kexec(2)
        run(host)
        assert [host.machine.cpus[cpu].owner for cpu in (1, 2)] == ["kernel 1", "kernel 3"]
        assert runs(host, A)
        assert runs(host, B)

    def test_a_second_kick_starts_the_cpu_again(self, host: Host) -> None:
        """e.again: v1 does not ask whether anybody runs there."""
        host.cpu_down(1)
        load(host, A, count(A))
        host.multikernel_kexec(1)
        run(host)
        host.machine.poke(A + 0x600, HALT)
        registers = host.machine.registers(1)
        registers.rip = A + 0x600
        host.machine.patch_registers(1, registers)
        run(host)
        assert not runs(host, A)
        host.multikernel_kexec(1)
        run(host)
        assert runs(host, A)

    def test_loading_over_a_kernel_that_runs(self, host: Host) -> None:
        """e.over (defect 15): its code and data are replaced at once."""
        host.cpu_down(1)
        load(host, A, count(A))
        host.multikernel_kexec(1)
        run(host)
        assert count_at(host, A) > 100
        load(host, A, count(A, 0x7F))
        run(host, 1000)
        assert count_at(host, A) > 0
        assert count_at(host, A) % 0x7F == 0

    def test_the_host_takes_its_cpu_back_without_asking(self, host: Host) -> None:
        """e.online (defect 16): the payload stops; then MKLI gives -EBUSY."""
        host.cpu_down(1)
        load(host, A, count(A))
        host.multikernel_kexec(1)
        run(host)
        lines = len(printed(host))
        host.cpu_up(1)
        assert printed(host)[lines:] == ["smpboot: Booting Node 0 Processor 1 APIC 0x1"]
        assert not runs(host, A)
        assert host.machine.cpus[1].owner == "host"
        with pytest.raises(KexecError, match="-EBUSY"):
            host.multikernel_kexec(1)


SEGMENTS = (
    [(A, PAGE, 1)],
    [(0x3000000, PAGE, 1)],
    [(0x3000000, PAGE, 1), (0x3000000, PAGE, 1)],
    [(A, PAGE, PAGE + 1)],
    [(A + 8, PAGE, 1)],
    [(1 << 40, PAGE, 1)],
    [(A, PAGE, 1)] * 17,
)
"""Good and bad ones; the second is good for a crash image, too."""
FLAGS = (KEXEC_MULTIKERNEL, 0, KEXEC_ON_CRASH, 0x20)

ACTS = st.one_of(
    st.tuples(st.just("load"), st.integers(0, 3), st.sampled_from([KEXEC_MULTIKERNEL, KEXEC_MULTIKERNEL, 0])),
    st.tuples(st.just("load segments"), st.integers(0, 3), st.integers(0, len(SEGMENTS) - 1)),
    st.tuples(st.just("unload"), st.just(0), st.sampled_from([KEXEC_MULTIKERNEL, KEXEC_ON_CRASH, 0])),
    st.tuples(st.just("kick"), st.integers(1, 5), st.just(0)),
    st.tuples(st.just("kick entry"), st.integers(1, 5), st.integers(0, 3)),
    st.tuples(st.just("send"), st.integers(-1, 5), st.sampled_from([0, 5, 257])),
    st.tuples(st.just("send pfn"), st.integers(-1, 5), st.integers(0, 2**40)),
    st.tuples(st.just("receive"), st.just(0), st.just(0)),
    st.tuples(st.just("spawned sends"), st.integers(-1, 5), st.sampled_from([0, 5, 256])),
    st.tuples(st.just("run"), st.integers(1, 20_000), st.just(0)),
    st.tuples(st.just("online"), st.integers(1, 5), st.just(0)),
    st.tuples(st.just("offline"), st.integers(1, 5), st.just(0)),
)


def perform(host: Host, act: tuple[str, int, int]) -> None:
    name, number, other = act
    if name == "load":
        window = A + 0x100000 * number
        # Not over a kernel that runs: what comes of that is another story (defect 15).
        if not any(cpu.owner == image for cpu in host.machine.cpus for image in names_at(host, window)):
            host.load(minikernel_image(window, number + 1, [1, 2, 3]), other)
    elif name == "load segments":
        segments = [KexecSegment(bytes(bufsz), mem, memsz) for mem, memsz, bufsz in SEGMENTS[other]]
        host.kexec_load(segments[0].mem, segments, FLAGS[number])
    elif name == "unload":
        host.kexec_load(0, [], other)
    elif name == "kick":
        host.multikernel_kexec(number)
        host.settle(200_000)
    elif name == "kick entry":
        host.multikernel_kexec_by_entry(number, A + 0x100000 * other)
        host.settle(200_000)
    elif name == "send":
        host.multikernel_send_ipi_data(number, b"\x11" * other)
    elif name == "send pfn":
        host.mk_send_pfn(number, other)
    elif name == "receive":
        host.mk_receive_pfn()
    elif name == "spawned sends":
        for cpu in host.machine.cpus:
            image = host.machine.images[cpu.owner or "host"]
            # Its logical CPUs are 0 to 2 for the physical 1 to 3.
            if "cpu_online" in image.symbols and image.name != "host":
                kernel = host.kernel(image.name)
                if kernel.cpu_online(cpu.index - 1):
                    kernel.multikernel_send_ipi_data(number, b"\x22" * other, via=cpu.index - 1)
    elif name == "run":
        host.machine.run(number)
    elif name == "online":
        host.cpu_up(number)
    else:
        host.cpu_down(number)


def names_at(host: Host, window: int) -> list[str]:
    return [image.name for image in host.machine.images.values() if image.entry == window]


@settings(deadline=None, max_examples=25)
@given(spawned=st.sets(st.integers(1, 3), max_size=2), acts=st.lists(ACTS, min_size=3, max_size=14))
def test_nothing_but_kexec_errors_and_the_list_stays_one(
    make_host: Callable[[], Host], spawned: set[int], acts: list[tuple[str, int, int]]
) -> None:
    """From a host whose CPUs ``spawned`` run kernels of their own.

    A refusal changes neither the list nor a lock; but a crash image's empties its place (do_kexec_load).
    """
    host, refusals = make_host(), list[str]()
    host.kimages.state.set("crashk_start", 0x3000000)
    host.kimages.state.set("crashk_end", 0x3400000)
    for cpu in sorted(spawned):
        host.cpu_down(cpu)
        perform(host, ("load", cpu, KEXEC_MULTIKERNEL))
        perform(host, ("kick entry", cpu, cpu))
    for act in acts:
        before = tables(host)
        try:
            perform(host, act)
        except KexecError as error:
            refusals.append(error.name)
            assert tables(host) == before or act[:2] == ("load segments", FLAGS.index(KEXEC_ON_CRASH))
        sound(host)
        assert host.machine.stopped is None
        assert host.machine.calls == []
    assert set(refusals) <= {"EBUSY", "EINVAL", "EADDRNOTAVAIL", "ENOMEM"}
