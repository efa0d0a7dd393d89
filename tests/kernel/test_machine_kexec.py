"""Ordinary kexec and crash kexec on the machine: control pages, the IND_ list, relocate_kernel, the other CPUs' end."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab import guest
from mklab.errors import KexecError, MklabError
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KEXEC_ON_CRASH, KexecSegment
from mklab.kernel.kimage import KIMAGE
from mklab.kernel.kimage_pages import entries, kimage_free
from mklab.kernel.layout import FREE_PAGES, HOST_BASE, SHARED_MEMORY
from mklab.kernel.list_head import ListCorruptionError
from mklab.kernel.reboot import LINUX_REBOOT_CMD_KEXEC
from mklab.machine import state
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.machine.registers import CR0, CR4, GPRS
from mklab.paging import walk
from mklab.structs import View
from mklab.trace import Fault, IpiSent, OwnerChange, Printk
from tests.kernel.kexectools import HALT, A, B, count, count_at, load, one, printed, sound

CRASH = (0x3000000, 0x3400000)
PAGE = 4096


def start(host: Host) -> None:
    """Leave the host for its ordinary image, and let the machine run."""
    host.reboot(LINUX_REBOOT_CMD_KEXEC)
    host.settle()


def only(host: Host) -> View:
    (image,) = host.kimages
    return image


class Interpreter:
    """What a list of entries says, read from the definition of its four bits."""

    def __init__(self, host: Host, image: View) -> None:
        self.memory = host.machine.memory
        self.pages: dict[int, bytes] = {}
        self.sources: list[int] = []
        self.copies: list[tuple[int, int]] = []
        self.indirections = 0
        at, destination = image.paddr + KIMAGE.offsets["head"], None
        while True:
            entry = self.memory.read_u64(at)
            at += 8
            address, bits = entry // PAGE * PAGE, entry % PAGE
            assert bits in (1, 2, 4, 8)
            if bits == 1:
                destination = address
            elif bits == 2:
                self.indirections += 1
                at = address
            elif bits == 8:
                assert destination is not None
                self.copies.append((address, destination))
                self.pages[destination] = self.pages.get(address) or self.memory.read(address, PAGE)
                destination += PAGE
            else:
                break


class TestTheList:
    def test_of_a_small_image(self, host: Host) -> None:
        host.kexec_load(A, [KexecSegment(b"\x11" * 0x1001, A, 0x3000), KexecSegment(b"\x22", B, 0x1000)], 0)
        image = only(host)
        assert (image.get("type"), image.get("start")) == (0, A)
        assert image.get("control_page") == (1 << 64) - 1
        head = image.get("head")
        assert head % PAGE == 2, "IND_INDIRECTION: the list is a page of its own"
        read = Interpreter(host, image)
        assert [destination for _, destination in read.copies] == [A, A + 0x1000, A + 0x2000, B]
        assert read.pages == {
            A: b"\x11" * PAGE,
            A + 0x1000: b"\x11".ljust(PAGE, b"\0"),
            A + 0x2000: bytes(PAGE),
            B: b"\x22".ljust(PAGE, b"\0"),
        }
        assert host.machine.memory.read(A, PAGE) == bytes(PAGE), "nothing is in place yet"
        control, swap = image.get("control_code_page"), image.get("swap_page")
        pages = [source for source, _ in read.copies] + [control, control + PAGE, swap, head - 2]
        assert len(set(pages)) == len(pages)
        assert all(FREE_PAGES[0] <= page < FREE_PAGES[1] for page in pages)
        assert [(at - (head - 2)) // 8 for at, _ in entries(host.kimages, image)][1:] == list(range(6))

    def test_the_list_goes_on_in_another_page(self, host: Host) -> None:
        host.kexec_load(A, [KexecSegment(b"", A, 600 * PAGE)], 0)
        read = Interpreter(host, only(host))
        assert read.indirections == 2
        assert [destination for _, destination in read.copies] == [A + i * PAGE for i in range(600)]

    def test_a_source_moves_to_its_own_destination_where_that_is_free(self, host: Host) -> None:
        """kimage_alloc_page: it takes what was to be copied there; the page that held it is used anew."""
        free = host.kimages.pages.free
        where = FREE_PAGES[0] + 10 * PAGE
        host.kexec_load(A, [KexecSegment(b"\x33" * PAGE, where, PAGE), KexecSegment(b"", A, 20 * PAGE)], 0)
        image = only(host)
        copies = Interpreter(host, image).copies
        assert copies[0] == (where, where)
        assert host.machine.memory.read(where, PAGE) == b"\x33" * PAGE
        assert image.get("dest_pages") == image.address("dest_pages"), "none is set aside"
        assert free - host.kimages.pages.free == 3 + 2 + 1 + 21

    def test_control_pages_are_a_list(self, host: Host) -> None:
        load(host, flags=0)
        image, pages = only(host), host.kimages.pages
        listed = [pages.paddr_of(node) for node in pages.lru(image.address("control_pages"), "control_pages")]
        assert {image.get("control_code_page"), image.get("swap_page")} < set(listed)
        assert len(listed) == 4, "the code's two, the swap page, and two levels of tables for one GiB"

    def test_everything_is_free_again(self, host: Host) -> None:
        free = host.kimages.pages.free
        host.kexec_load(FREE_PAGES[0], [KexecSegment(b"x", FREE_PAGES[0], 20 * PAGE)], 0)
        assert host.kimages.pages.free < free
        host.kexec_load(0, [], 0)
        assert host.kimages.pages.free == free

    def test_a_list_that_somebody_has_written_over(self, host: Host) -> None:
        load(host, flags=0)
        image = only(host)
        page = image.get("head") & -PAGE
        host.machine.poke(page + 8, (page | 2).to_bytes(8, "little"))
        with pytest.raises(ListCorruptionError, match=r"kimage\.head runs in a circle through") as caught:
            kimage_free(host.kimages, image)
        assert caught.value.good == 3
        load(host, flags=0)
        host.machine.poke(only(host).paddr, (0xDEAD000000000000 | 2).to_bytes(8, "little"))
        with pytest.raises(
            MklabError, match=r"kexec_load did not return: oops: kimage\.head leads to 0xdead000000000000"
        ):
            host.kexec_load(0, [], 0)
        with pytest.raises(KexecError, match="EBUSY"):
            host.kexec_load(0, [], 0)


segments = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 6), st.binary(min_size=1, max_size=40)),
    min_size=1,
    max_size=5,
)


class TestRelocation:
    @settings(deadline=None, max_examples=12)
    @given(wanted=segments)
    def test_segments_that_lie_where_the_host_allocates(
        self, make_host: Callable[[], Host], wanted: list[tuple[int, int, bytes]]
    ) -> None:
        """Destinations among the free pages themselves: source, control and list pages have to get out of the way.

        relocate_kernel must bring about what the segments say, whatever way the pages took.
        """
        host = make_host()
        taken: set[int] = set()
        loaded = [KexecSegment(HALT, A, PAGE)]
        for first, count_, data in wanted:
            pages = set(range(first, first + count_))
            if not pages & taken:
                taken |= pages
                size = count_ * PAGE
                fill = (data * (size // len(data) + 1))[: size - len(data)]
                loaded.append(KexecSegment(fill, FREE_PAGES[0] + first * PAGE, size))
        host.kexec_load(A, loaded, 0)
        image = only(host)
        read = Interpreter(host, image)
        destinations = {destination for _, destination in read.copies}
        for source, destination in read.copies:
            assert source == destination or source not in destinations
        for control in (image.get("control_code_page"), image.get("control_code_page") + PAGE):
            assert control not in destinations
        start(host)
        for segment in loaded:
            found = host.machine.memory.read(segment.mem, segment.memsz)
            assert found == segment.buf.ljust(segment.memsz, b"\0"), hex(segment.mem)
        assert host.machine.registers(0).rip == A + 2

    def test_what_the_entry_finds(self, host: Host) -> None:
        """relocate_kernel_64.S: registers 0, RSP the end of the control page, the image's page tables, no IDT."""
        load(host, flags=0)
        control = only(host).get("control_code_page")
        start(host)
        registers = host.machine.registers(0)
        assert [getattr(registers, name) for name in GPRS if name != "rsp"] == [0] * 15
        assert registers.rsp == control + 2 * PAGE
        assert registers.cr3 == control
        assert registers.cr4 == CR4.PAE
        assert registers.cr0 & (CR0.PG | CR0.PE | CR0.WP | CR0.TS | CR0.EM) == CR0.PG | CR0.PE
        assert (registers.idtr.limit, registers.gdtr.limit) == (0, 0)
        assert registers.rflags & 0x200 == 0
        assert (
            host.machine.memory.read(control + PAGE, len(guest.relocate_kernel().data)) == guest.relocate_kernel().data
        )

    def test_its_tables_map_memory_to_itself(self, host: Host) -> None:
        host.kexec_load(A, [*one(), *one(5 << 30)], 0)
        registers = host.machine.registers(0)
        registers.cr3 = only(host).get("control_code_page")
        for address in (0, A, (64 << 20) - 1, (1 << 30) - 1, 5 << 30, (6 << 30) - 1):
            assert walk(host.machine.memory, registers, address).paddr == address
        for address in (1 << 30, 6 << 30, 1 << 39):
            assert walk(host.machine.memory, registers, address).paddr is None


class TestKernelKexec:
    def test_a_minikernel_takes_over(self, host: Host) -> None:
        host.load(minikernel_image(A, 1, [0, 1, 2, 3]), 0)
        start(host)
        assert printed(host) == ["kexec_core: Starting new kernel"]
        assert host.machine.console("kernel 1").endswith("kernel 1 up, boot_params at 0x0\n")
        owners = [(e.cpu, e.owner) for e in host.machine.trace.of(OwnerChange)][-2:]
        assert owners == [(0, None), (0, "kernel 1")]
        assert host.machine.trace.of(Fault) == []

    def test_even_where_the_host_was(self, host: Host) -> None:
        """The new kernel lies over the old one, byte for byte where it was, and starts from its beginning."""
        host.load(minikernel_image(HOST_BASE, 1, [0]), 0)
        start(host)
        assert host.machine.console("kernel 1").splitlines()[-1].startswith("kernel 1 up")
        assert host.machine.cpus[0].owner == "kernel 1"
        assert "host" in host.machine.images

    def test_the_other_cpus_of_the_host_stop(self, host: Host) -> None:
        host.cpu_down(3)
        load(host, flags=0)
        start(host)
        assert [cpu.state for cpu in host.machine.cpus] == [CpuState.HALTED] * 4
        assert [host.machine.registers(cpu).rflags & 0x200 for cpu in range(4)] == [0] * 4
        assert [host.cpu_online(cpu) for cpu in (1, 2, 3)] == [False] * 3

    def test_a_spawned_kernel_runs_on(self, host: Host) -> None:
        """It is in nobody's mask of CPUs, so nobody stops it; the new kernel does not know about it."""
        host.cpu_down(2)
        load(host, B, count(B))
        host.multikernel_kexec(2)
        host.machine.run(30_000)
        load(host, A, flags=0)
        before = count_at(host, B)
        host.reboot(LINUX_REBOOT_CMD_KEXEC)
        host.machine.run(50_000)
        assert count_at(host, B) > before
        assert [cpu.owner for cpu in host.machine.cpus] == ["kernel 2", "host", "kernel 1", "host"]
        assert [e.vector for e in host.machine.trace.of(IpiSent) if 2 in e.targets and e.delivery == "fixed"][1:] == []

    def test_from_another_cpu_it_moves_to_cpu_0(self, host: Host) -> None:
        load(host, flags=0)
        host.reboot(LINUX_REBOOT_CMD_KEXEC, via=3)
        host.settle()
        assert host.machine.cpus[0].owner == "kernel 1"
        assert host.machine.cpus[3].owner == "host"

    def test_other_calls_end(self, host: Host) -> None:
        load(host, flags=0)
        other = host.submit("cpu_down", {"cpu": 2}, via=1)
        other.wake = 1 << 40  # it sleeps
        host.reboot(LINUX_REBOOT_CMD_KEXEC)
        assert (other.done, other.reason) == (True, "its kernel was ended by kernel_kexec")
        assert host.machine.calls == []

    def test_the_old_host_cannot_be_called_any_more(self, host: Host) -> None:
        host.load(minikernel_image(A, 1, [0]), 0)
        start(host)
        with pytest.raises(MklabError, match="CPU 0 runs kernel 1 now, and the host on it no longer"):
            load(host)
        with pytest.raises(ValueError, match="via must be a CPU that is online"):
            host.kexec_load(0, [], via=1)

    def test_a_host_cpu_that_does_not_answer(self, host: Host) -> None:
        """f.init: somebody sent it INIT, and the host thinks that it is there. It goes on without it."""
        load(host, flags=0)
        host.machine.store(1, 0xFEE00310, 2 << 24)
        host.machine.store(1, 0xFEE00300, 0x4500)
        assert host.cpu_online(2)
        start(host)
        assert host.machine.cpus[0].owner == "kernel 1"
        assert [host.cpu_online(cpu) for cpu in (1, 2, 3)] == [False, True, False]

    def test_a_multikernel_image_is_not_one(self, host: Host) -> None:
        load(host)
        with pytest.raises(KexecError, match="kernel_kexec: -EINVAL: no ordinary image"):
            host.reboot(LINUX_REBOOT_CMD_KEXEC)
        sound(host)
        host.kimages.state.set("kexec_lock", 1)
        with pytest.raises(KexecError, match="EBUSY"):
            host.reboot(LINUX_REBOOT_CMD_KEXEC)
        assert host.kimages.state.get("system_transition_mutex") == 0

    def test_messages_from_a_spawned_kernel_are_lost_on_the_new_one(self, host: Host) -> None:
        """The local APIC is left disabled, and a payload does not enable it."""
        load(host, flags=0)
        start(host)
        assert not host.machine.apics[0].enabled
        assert host.machine.memory.contains(SHARED_MEMORY, 272)

    def test_a_snapshot_between_any_two_steps(self, host: Host) -> None:
        load(host, flags=0)
        begun = json.dumps(state.state(host.machine))

        def resume(data: str) -> Machine:
            machine = Machine(4)
            Host(machine)
            state.restore(machine, json.loads(data))
            return machine

        def begin() -> Machine:
            machine = resume(begun)
            Host(machine).submit("kernel_kexec", {})
            return machine

        whole, steps = begin(), 0
        while whole.step() is None:
            steps += 1
        assert whole.cpus[0].owner == "kernel 1"
        for cut in (1, 2, 3, 5, 8, 13, 20, steps - 2):
            first = begin()
            for _ in range(cut):
                first.step()
            second = resume(json.dumps(state.state(first)))
            second.run()
            assert second.trace.sha256 == whole.trace.sha256, cut


class TestPanic:
    @pytest.fixture
    def crash(self, host: Host) -> Host:
        host.kimages.state.set("crashk_start", CRASH[0])
        host.kimages.state.set("crashk_end", CRASH[1])
        return host

    @pytest.mark.parametrize("via", [0, 2])
    def test_enters_the_crash_image(self, crash: Host, via: int) -> None:
        """On the CPU that panics; the others of the host get an NMI, and so does everybody else."""
        crash.load(minikernel_image(CRASH[0], 1, [0, 1, 2, 3]), KEXEC_ON_CRASH)
        crash.panic("a test", via=via)
        crash.settle()
        assert printed(crash) == ["Kernel panic - not syncing: a test"]
        assert crash.machine.cpus[via].owner == "kernel 1"
        assert crash.machine.console("kernel 1").endswith("kernel 1 up, boot_params at 0x0\n")
        nmi = [e for e in crash.machine.trace.of(IpiSent) if e.delivery == "nmi"]
        assert [(e.cpu, e.shorthand) for e in nmi] == [(via, "all-but-self")]
        assert [crash.machine.cpus[cpu].state for cpu in range(4)] == [CpuState.HALTED] * 4
        assert not any(crash.cpu_online(cpu) for cpu in range(4) if cpu != via)

    def test_an_ordinary_image_is_not_entered(self, host: Host) -> None:
        load(host, flags=0)
        host.panic("a test")
        host.settle()
        assert [cpu.owner for cpu in host.machine.cpus] == ["host"] * 4
        assert not any(host.cpu_online(cpu) for cpu in range(4))
        assert [e.text for e in host.machine.trace.of(Printk)] == [
            "Kernel panic - not syncing: a test",
            "---[ end Kernel panic - not syncing: a test ]---",
        ]

    def test_a_held_lock_keeps_the_crash_image_out(self, crash: Host) -> None:
        """crash_kexec only tries the lock: a load that died with it has taken the crash kernel along."""
        load(crash, CRASH[0], flags=KEXEC_ON_CRASH)
        crash.kimages.state.set("kexec_lock", 1)
        crash.panic("a test")
        crash.settle()
        assert [cpu.owner for cpu in crash.machine.cpus] == ["host"] * 4

    def test_a_spawned_kernel_survives(self, crash: Host) -> None:
        crash.cpu_down(2)
        crash.load(minikernel_image(A, 1, [2]))
        crash.multikernel_kexec(2)
        crash.wait_online("kernel 1", 2)
        load(crash, CRASH[0], flags=KEXEC_ON_CRASH)
        crash.panic("a test")
        crash.settle()
        assert [cpu.owner for cpu in crash.machine.cpus] == ["kernel 2", "host", "kernel 1", "host"]
        assert crash.machine.registers(2).rflags & 0x200, "it waits for messages"

    def test_one_without_an_idt_takes_all_with_it(self, crash: Host) -> None:
        """The NMI by shorthand reaches a payload that has only the trampoline's empty IDT (defect 9)."""
        crash.cpu_down(2)
        load(crash, A, count(A))
        crash.multikernel_kexec(2)
        crash.machine.run(30_000)
        load(crash, CRASH[0], flags=KEXEC_ON_CRASH)
        with pytest.raises(MklabError, match="reset"):
            crash.panic("a test")
        assert crash.machine.stopped is not None
        assert "CPU 2 shut down: triple fault" in crash.machine.stopped.detail
