"""Every defect shows on the machine, and where it is mended its scenario says so."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab.errors import KexecError
from mklab.guest import build
from mklab.kernel import kexec_core, kexec_syscall, smpboot
from mklab.kernel import minikernel as loader
from mklab.kernel.host import Host
from mklab.kernel.instance import Kernel
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KEXEC_ON_CRASH
from mklab.kernel.kexec_core import MultikernelKexec
from mklab.kernel.kexec_syscall import KexecLoad
from mklab.kernel.kimage import KimageList
from mklab.kernel.layout import HOST_END
from mklab.kernel.reboot import Reboot
from mklab.kernel.smpboot import CpuUp, Kick
from mklab.lab.defects import DEFECTS, Defect
from mklab.lab.defects.telling import verdict
from mklab.machine.process import Call

MUST = {*range(2, 10), *range(13, 17), 18, 19, *range(21, 25), *range(26, 32), 33, 37, 38, 39}
"""What the lab promises to show."""

Mend = Callable[[pytest.MonkeyPatch], None]


def test_all_of_them_are_there_in_order() -> None:
    assert [defect.number for defect in DEFECTS] == list(range(1, 45))


def test_those_that_must_be_shown_can_be() -> None:
    shown = {defect.number for defect in DEFECTS if defect.run is not None}
    assert shown >= MUST
    assert len(shown) >= 30


def test_the_table_of_departures_says_the_same(repository: Path) -> None:
    text = (repository / "docs" / "fidelity.md").read_text()
    rows = (
        text.partition("## Defects of the RFC that are kept")[2].partition("|---|---|---|\n")[2].partition("\n\n")[0]
        + "\n"
    )
    assert rows == "".join(
        f"| {one.number} | {one.name} | "
        f"{f'`mklab defect {one.number}`' if one.run else f'not shown: {one.why_not}'} |\n"
        for one in DEFECTS
    )


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: str(defect.number))
def test_each_is_described(defect: Defect) -> None:
    assert 3 < len(defect.name) < 60
    assert re.match(r"patch(es)? [1-7]", defect.cause)
    assert "\n" not in defect.cause
    assert bool(defect.why_not) == (defect.run is None)
    assert bool(defect.done) == (defect.run is not None), "a scenario's docstring says what it does"


def test_no_two_have_one_name() -> None:
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)


def _findings(number: int) -> list[bool]:
    (defect,) = (one for one in DEFECTS if one.number == number)
    assert defect.run is not None
    return [finding.seen for finding in defect.run()]


@pytest.mark.parametrize(
    "defect", [one for one in DEFECTS if one.run is not None], ids=lambda defect: f"{defect.number}"
)
def test_it_shows(defect: Defect) -> None:
    assert defect.run is not None
    findings = defect.run()
    assert findings
    assert [finding.what for finding in findings if not finding.seen] == []
    assert verdict(defect, findings) == "reproduced"
    for finding in findings:
        assert not re.search(r"\bNone\b|\[[\d'\]]|\(s\)|exception (0xe|14)\b", finding.what), "it is told in words"


# The same scenarios where v1's defect is mended


def _rebuild(monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str) -> None:
    """Let every kernel be a minikernel of which one source file is another."""
    sources, script = build._IMAGES["minikernel"]
    texts = {source.rpartition("/")[2]: (build._HERE / source).read_text() for source in sources}
    assert texts[file].count(old) == 1
    texts[file] = texts[file].replace(old, new)
    image = build.build(texts, (build._HERE / script).read_text())
    monkeypatch.setattr(loader, "minikernel", lambda: image)


def reserve_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    _rebuild(monkeypatch, "mm.c", "memblock_reserve(mem, mem + size);", "memblock_reserve(mem, size);")


def keep_nx(monkeypatch: pytest.MonkeyPatch) -> None:
    _rebuild(monkeypatch, "mm.c", "*entry & ~_PAGE_NX", "*entry")


def rebase_esp(monkeypatch: pytest.MonkeyPatch) -> None:
    _rebuild(monkeypatch, "trampoline_64_bsp.S", "movl\t%eax, %ss\t", "movl\t%eax, %ss; addl %esi, %esp\t")


def keep_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every CPU writes the same into them; it is the zeros that hurt."""
    _rebuild(monkeypatch, "trampoline_64_bsp.S", "rep stosl", "")


def mask_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    _rebuild(monkeypatch, "trampoline_64_bsp.S", "shrq\t$30, %rax\n", "shrq\t$30, %rax; andl $511, %eax\n")


def know_that_one_was_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    _rebuild(monkeypatch, "mm.c", "mk_boot_info.flags & MK_NO_TRAMPOLINE", "mk_boot_info.kernel_id")


def read_the_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox, cleared = Kick.mailbox, Kick.clear_status

    def clear_it_first(self: Kick, call: Call) -> str:
        kernel = self.kernel(call)
        kernel.kernel_write(smpboot._trampoline(kernel, "trampoline_status_bsp"), bytes(4))
        return mailbox(self, call)

    def clear_status(self: Kick, call: Call) -> str:
        kernel = self.kernel(call)
        at = smpboot._trampoline(kernel, "trampoline_status_bsp")
        if kernel.machine.memory.read(at, 4) != b"\xa5" * 4:
            self.host.kexec_unlock()
            raise KexecError(5, "do_multikernel_boot_cpu", "the CPU does not answer")
        return cleared(self, call)

    monkeypatch.setattr(Kick, "mailbox", clear_it_first)
    monkeypatch.setattr(Kick, "clear_status", clear_status)


def wait_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its kernel is up: one that has just entered it still runs on the trampoline's tables (defect 6)."""

    def unlock(self: MultikernelKexec, call: Call) -> str:
        machine = self.host.machine
        target = next(cpu for cpu in machine.cpus if cpu.apic_id == call.values["apicid"])
        if target.owner is None or not self.host.is_up(target.owner, target.index):
            return self.poll(call, "the CPU does not come up")
        self.host.kexec_unlock()
        call.step = ""
        return "returns 0"

    monkeypatch.setattr(MultikernelKexec, "unlock", unlock)


def no_boot_params(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smpboot, "BOOT_PARAMS", 0x1000)


def spare_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    check = kexec_core.sanity_check_segment_list

    def fixed(segments: list[dict[str, int]], *args: object) -> None:
        check(segments, *args)  # type: ignore[arg-type]
        if any(one["mem"] < HOST_END for one in segments):
            raise KexecError(99, "sanity_check_segment_list", "the host's memory")

    monkeypatch.setattr(kexec_syscall, "sanity_check_segment_list", fixed)


def refuse_overlap_with_images(monkeypatch: pytest.MonkeyPatch) -> None:
    allocate = KexecLoad.allocate

    def fixed(self: KexecLoad, call: Call) -> str:
        for name, image in self.host.machine.images.items():
            for start, end in image.ranges:
                if any(one["mem"] < end and start < one["mem"] + one["memsz"] for one in call.values["segments"]):
                    raise KexecError(99, "kexec_load", f"{name} is there")
        return allocate(self, call)

    monkeypatch.setattr(KexecLoad, "allocate", fixed)


def remember_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    check = CpuUp.check

    def fixed(self: CpuUp, call: Call) -> str:
        kernel = self.kernel(call)
        owner = kernel.machine.cpus[kernel.index(call.values["cpu"])].owner
        if owner not in (None, kernel.name):
            raise KexecError(16, "cpu_up", f"{owner} has it")
        return check(self, call)

    monkeypatch.setattr(CpuUp, "check", fixed)


def bound_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernel, "test_cpu_online", Kernel.cpu_online)


def check_with_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = MultikernelKexec.lock

    def fixed(self: MultikernelKexec, call: Call) -> str:
        detail = lock(self, call)
        if self.host.cpu_online(call.values["cpu"]):
            self.host.kexec_unlock()
            raise KexecError(16, "multikernel_kexec", "it is online")
        return detail

    monkeypatch.setattr(MultikernelKexec, "lock", fixed)


def release_the_mutex(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Reboot.command

    def fixed(self: Reboot, call: Call) -> str:
        try:
            return command(self, call)
        except KexecError:
            self.host.kimages.state.set("system_transition_mutex", 0)
            raise

    monkeypatch.setattr(Reboot, "command", fixed)


def legal_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kexec_syscall, "_FLAGS", kexec_syscall._FLAGS | KEXEC_MULTIKERNEL)


def newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    iterate = KimageList.__iter__
    monkeypatch.setattr(KimageList, "__iter__", lambda self: reversed(list(iterate(self))))


def unload_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kexec_syscall, "_UNLOADED_AT_ONCE", 1000)


def not_both_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    check = KexecLoad.check

    def fixed(self: KexecLoad, call: Call) -> str:
        if call.values["flags"] & KEXEC_ON_CRASH and call.values["flags"] & KEXEC_MULTIKERNEL:
            raise KexecError(22, "kexec_load_check", "one or the other")
        return check(self, call)

    monkeypatch.setattr(KexecLoad, "check", fixed)


def align_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Host.proc_multikernel
    monkeypatch.setattr(Host, "proc_multikernel", lambda self: text(self).replace("multikernel  ", "multikernel "))


@pytest.mark.parametrize(
    ("number", "mend", "gone"),
    [
        (1, reserve_a_size, {0, 1}),
        (2, keep_nx, {0, 1}),
        (3, rebase_esp, {0, 1}),
        (4, read_the_marker, {0, 2}),
        (5, wait_for_the_cpu, {0}),
        (6, keep_the_tables, {1}),
        (7, mask_the_index, {0}),
        (11, know_that_one_was_spawned, {0, 1, 2}),
        (13, no_boot_params, {0, 1}),
        (14, spare_the_host, {0, 1, 2, 3}),
        (15, refuse_overlap_with_images, {1}),
        (16, remember_owners, {0, 1, 3}),
        (17, bound_the_number, {1, 2, 3}),
        (18, check_with_the_lock, {2}),
        (19, release_the_mutex, {1, 2}),
        (20, legal_always, {1}),
        (21, newest_first, {0}),
        (22, newest_first, {0, 1}),
        (23, unload_all, {0}),
        (24, not_both_flags, {0, 2, 3}),
        (25, align_the_table, {2}),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else getattr(value, "__name__", ""),
)
def test_a_scenario_sees_that_its_defect_is_mended(
    number: int, mend: Mend, gone: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``gone``: which of its findings are not seen any more; the contrasts stay."""
    mend(monkeypatch)
    seen = _findings(number)
    assert {index for index, one in enumerate(seen) if not one} == gone
