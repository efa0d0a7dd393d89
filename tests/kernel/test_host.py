"""The host kernel and what its process context does, on the machine."""

import contextlib
import errno
import json
from collections.abc import Iterator

import pytest

from mklab.errors import KexecError, MklabError
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KexecSegment
from mklab.kernel.layout import BOOT_PARAMS, TRAMPOLINE_BASE, WARM_RESET_VECTOR
from mklab.kernel.reboot import LINUX_REBOOT_CMD_KEXEC
from mklab.machine import state
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin
from mklab.trace import (
    Ignored,
    Init,
    Input,
    IpiSent,
    Lost,
    Message,
    MessageTaken,
    ModeChange,
    OwnerChange,
    Printk,
    Sipi,
)

KERNEL_1, KERNEL_2 = 0x2000000, 0x3000000
MESSAGE = {"cpu": 0, "data": "", "size": 0, "type": 1, "repeat": 0}


@pytest.fixture(scope="module")
def booted() -> str:
    """The state of a machine of four CPUs whose host has booted."""
    machine = Machine(4)
    Host(machine).boot()
    return json.dumps(state.state(machine))


@pytest.fixture
def host(booted: str) -> Host:
    machine = Machine(4)
    host = Host(machine)
    state.restore(machine, json.loads(booted))
    return host


def spawn(host: Host, cpu: int = 2, base: int = KERNEL_1, name: str = "kernel 1") -> None:
    """Take ``cpu`` offline, load a minikernel and start it there."""
    host.cpu_down(cpu)
    host.load(minikernel_image(base, int(name[-1]), [cpu]))
    host.multikernel_kexec(cpu)
    host.wait_online(name, cpu)


def printed(host: Host) -> list[str]:
    return [event.text for event in host.machine.trace.of(Printk)]


class TestBoot:
    def test_every_cpu_runs_the_host(self, host: Host) -> None:
        assert [(cpu.owner, cpu.mode, cpu.state) for cpu in host.machine.cpus] == [("host", "long", "halted")] * 4
        assert [host.cpu_online(cpu) for cpu in range(5)] == [True, True, True, True, False]

    def test_the_aps_are_started_by_init_and_sipi(self) -> None:
        machine = Machine(2)
        Host(machine).boot()
        kinds = [e.kind for e in machine.trace if e.cpu == 1 and isinstance(e, Init | Sipi | ModeChange | OwnerChange)]
        assert kinds == ["Init", "Sipi", "ModeChange", "ModeChange", "OwnerChange"]
        assert [event.mode for event in machine.trace.of(ModeChange) if event.cpu == 1] == ["protected", "long"]

    def test_apic_ids_need_not_be_cpu_numbers(self) -> None:
        machine = Machine(3, apic_ids=[4, 9, 2])
        host = Host(machine)
        host.boot()
        assert [host.apicid(cpu) for cpu in range(4)] == [4, 9, 2, None]
        assert machine.console("host").splitlines()[-2:] == ["host: CPU 1 up", "host: CPU 2 up"]

    def test_the_log_says_where_the_trampoline_lies(self) -> None:
        """rfc-observed a.tramp."""
        host = Host(Machine(1))
        host.boot()
        assert printed(host)[0] == "Base memory trampoline BSP at [(____ptrval____)] 96000 size 36864"

    def test_too_little_memory(self) -> None:
        with pytest.raises(ValueError, match=r"machine must have RAM from 0 to 0x2000000, not \[\(0, 16777216\)\]"):
            Host(Machine(1, ram=16 << 20))

    def test_a_host_that_cannot_come_up_is_an_error_not_a_hang(self) -> None:
        machine = Machine(1)
        host = Host(machine)
        host.start()
        machine.poke(host.symbol("startup_64"), b"\xeb\xfe")  # jmp .
        with pytest.raises(
            MklabError, match=r"did not come up.*1000000 instructions executed; CPU 0 stands at 0x1000000"
        ):
            host.run_until(lambda _: host.cpu_online(0), "the host did not come up")


class TestTheWholeWay:
    def test_a_second_kernel_is_loaded_started_and_answers(self, host: Host) -> None:
        spawn(host)
        machine = host.machine
        assert machine.cpus[2].owner == "kernel 1"
        assert machine.console("kernel 1").splitlines()[-1] == f"kernel 1 up, boot_params at {BOOT_PARAMS:#x}"
        before = len(machine.console("kernel 1"))
        host.multikernel_send_ipi_data(2, b"hello")
        host.settle()
        assert machine.console("kernel 1")[before:].splitlines() == [
            "Multikernel IPI received on CPU 0 (physical id 2) from CPU 0 type=1",
            "kernel 1: message from CPU 0: hello",
        ]
        assert machine.console("host").splitlines()[-1] == "host: answer from CPU 2: hello"
        messages = [(e.cpu, e.to_cpu, e.type, e.size, bytes.fromhex(e.payload)) for e in machine.trace.of(Message)]
        assert messages == [(0, 2, 1, 5, b"hello"), (2, 0, 2, 5, b"hello")]
        assert [(e.cpu, e.sender) for e in machine.trace.of(MessageTaken)] == [(2, 0), (0, 2)]

    def test_the_kick_goes_through_the_host_cpus_own_apic(self, host: Host) -> None:
        spawn(host)
        sent = [e for e in host.machine.trace.of(IpiSent) if e.targets == [2] and e.delivery in ("init", "sipi")]
        assert [(e.cpu, e.delivery, e.level, e.vector) for e in sent] == [
            (0, "init", True, 0),
            (0, "init", False, 0),
            (0, "sipi", True, TRAMPOLINE_BASE >> 12),
            (0, "sipi", True, TRAMPOLINE_BASE >> 12),
        ]
        ignored = [e.what for e in host.machine.trace.of(Ignored) if e.cpu == 2]
        assert ignored == ["INIT level de-assert", "SIPI 0x96"]

    def test_the_cpu_is_nobodys_from_init_to_the_jump(self, host: Host) -> None:
        spawn(host)
        events = [e for e in host.machine.trace if e.cpu == 2 and isinstance(e, Init | ModeChange | OwnerChange)]
        seen = [getattr(e, "owner", getattr(e, "mode", e.kind)) for e in events]
        assert seen == ["Init", "real", None, "protected", "long", "kernel 1"]

    def test_rfc_lines_are_printed(self, host: Host) -> None:
        spawn(host)
        segment = minikernel_image(KERNEL_1, 1, [2]).segments[0]
        assert printed(host) == [
            "smpboot: CPU 2 is now offline",
            f"kexec_core: Loading multikernel segment: mem=0x2000000, memsz=0x{segment.memsz}, "
            f"buf=0x0000000000000000, bufsz=0x{segment.bufsz}",
            "kexec: Added multikernel image to list (entry: 0x2000000)",
            "kexec_core: multikernel kexec: cpu 2",
            "kexec_core: Found multikernel image with entry point: 0x2000000",
            "smpboot: ++++++++++++++++++++=_---CPU UP  2",
            "smpboot: do_multikernel_boot_cpu(apicid=2, cpu=2, kernel_start_address=2000000)",
            "smpboot: do_multikernel_boot_cpu end",
        ]

    def test_what_a_kick_leaves_behind(self, host: Host) -> None:
        spawn(host)
        read = host.machine.memory.read
        assert read(WARM_RESET_VECTOR, 4) == bytes.fromhex("00000096")
        assert read(0x11FC, 8) == bytes.fromhex("0461090010000000")  # defect 3
        cmos = host.machine.board.ports.cmos
        assert cmos[0x0F] == 0x0A
        host.cpu_down(3)
        host.cpu_up(3)
        assert (read(WARM_RESET_VECTOR, 4), cmos[0x0F]) == (bytes(4), 0)

    def test_the_oldest_image_is_started_whoever_was_meant(self, host: Host) -> None:
        """Defects 21 and, since owners are observed, what makes it visible."""
        host.cpu_down(1)
        host.cpu_down(2)
        host.load(minikernel_image(KERNEL_1, 1, [1]))
        host.load(minikernel_image(KERNEL_2, 2, [2]))
        host.machine.plan(2, "kernel 2")
        host.multikernel_kexec(2)
        host.settle()
        assert host.machine.cpus[2].owner == "kernel 1"
        assert [e.against_plan for e in host.machine.trace.of(OwnerChange) if e.owner] == [True]

    def test_two_quick_kicks_share_one_mailbox(self, host: Host) -> None:
        """Defect 5: the first CPU reads what the second kick has written (58 of 60 on a real kernel)."""
        host.machine.schedule = RoundRobin(100)
        for cpu in (1, 2):
            host.cpu_down(cpu)
        host.load(minikernel_image(KERNEL_1, 1, [1]))
        host.multikernel_kexec(1)
        host.kexec_load(0, [])
        host.load(minikernel_image(KERNEL_2, 2, [2]))
        host.multikernel_kexec(2)
        host.settle(50_000)
        assert host.machine.cpus[1].owner == "kernel 2"


class TestRefusals:
    @pytest.fixture
    def unchanged(self, host: Host) -> Iterator[None]:
        """A refusal changes neither the list nor the images, and leaves the lock free."""
        before = host.proc_multikernel(), dict(host.machine.images)
        yield
        assert (host.proc_multikernel(), dict(host.machine.images)) == before
        assert host.kimages.state.get("kexec_lock") == 0

    def refuse(
        self, host: Host, segments: list[KexecSegment], flags: int = KEXEC_MULTIKERNEL, **extra: bool
    ) -> KexecError:
        with pytest.raises(KexecError) as caught:
            host.kexec_load(KERNEL_1, segments, flags, **extra)  # type: ignore[arg-type]
        return caught.value

    @pytest.mark.usefixtures("unchanged")
    @pytest.mark.parametrize(
        ("segments", "code", "words"),
        [
            ([(KERNEL_1 + 0x10, 0x1000, 0)], errno.EADDRNOTAVAIL, "not made of whole pages"),
            ([(KERNEL_1, 0x1001, 0)], errno.EADDRNOTAVAIL, "not made of whole pages"),
            ([((1 << 64) - 0x1000, 0x1000, 0)], errno.EADDRNOTAVAIL, "wraps round"),
            ([(1 << 46, 0x1000, 0)], errno.EADDRNOTAVAIL, "beyond what kexec can reach"),
            ([(1 << 41, 0x1000, 0)], errno.ENOMEM, "40 physical address bits"),
            (
                [(KERNEL_1, 0x2000, 0), (KERNEL_1 + 0x1000, 0x1000, 0)],
                errno.EINVAL,
                "segments 0 and 1 overlap at 0x2001000",
            ),
            ([(KERNEL_1, 0x1000, 0x1001)], errno.EINVAL, "4097 bytes for 4096 of memory"),
            ([(KERNEL_1, 33 << 20, 0)], errno.EINVAL, "more than half of RAM"),
            ([(i << 24, 17 << 20, 0) for i in (0, 2)], errno.EINVAL, "the segments take 8704 pages"),
            ([(KERNEL_1 + i * 0x1000, 0x1000, 0) for i in range(17)], errno.EINVAL, "17 segments; at most 16"),
        ],
    )
    def test_segments(self, host: Host, segments: list[tuple[int, int, int]], code: int, words: str) -> None:
        error = self.refuse(host, [KexecSegment(bytes(bufsz), mem, memsz) for mem, memsz, bufsz in segments])
        assert error.errno == code
        assert words in str(error)

    @pytest.mark.usefixtures("unchanged")
    def test_flags_and_privilege(self, host: Host) -> None:
        one = [KexecSegment(b"", KERNEL_1, 0x1000)]
        assert self.refuse(host, one, KEXEC_MULTIKERNEL | 0x20).errno == errno.EINVAL
        assert self.refuse(host, one, KEXEC_MULTIKERNEL | 3 << 16).errno == errno.EINVAL
        assert self.refuse(host, one, KEXEC_MULTIKERNEL | 1).errno == errno.EADDRNOTAVAIL  # b.crashmk.out
        assert self.refuse(host, one, privileged=False).errno == errno.EPERM

    @pytest.mark.usefixtures("unchanged")
    def test_kick_refusals(self, host: Host) -> None:
        for cpu, code in ((2, errno.EBUSY), (4, errno.EINVAL)):
            with pytest.raises(KexecError) as caught:
                host.multikernel_kexec(cpu)
            # A CPU that nobody knows is refused only after an image was found, as in v1.
            assert caught.value.errno == code, cpu
        host.cpu_down(2)
        with pytest.raises(KexecError, match="no multikernel image is loaded; call kexec_load first"):
            host.multikernel_kexec(2)

    @pytest.mark.usefixtures("unchanged")
    def test_hotplug_of_cpus_that_are_there_already(self, host: Host) -> None:
        with pytest.raises(KexecError, match="cpu_up: -EBUSY: CPU 2 is online"):
            host.cpu_up(2)
        host.cpu_down(2)
        with pytest.raises(KexecError, match="cpu_down: -EINVAL: CPU 2 is not online"):
            host.cpu_down(2)

    def test_an_unknown_cpu_with_an_image_loaded(self, host: Host) -> None:
        host.load(minikernel_image(KERNEL_1, 1, [2]))
        with pytest.raises(KexecError, match="-EINVAL: this machine has no CPU 4"):
            host.multikernel_kexec(4)
        assert printed(host)[-1] == "smpboot: CPU 4 has invalid APIC ID ffff. Aborting bringup"
        assert host.kimages.state.get("kexec_lock") == 0

    def test_the_lock_is_in_guest_ram(self, host: Host) -> None:
        host.kimages.state.set("kexec_lock", 1)
        assert self.refuse(host, [KexecSegment(b"", KERNEL_1, 0x1000)]).errno == errno.EBUSY

    @pytest.mark.parametrize(("cpu", "size"), [(-1, 4), (4, 4), (64, 4), (2, 257)])
    def test_messages(self, host: Host, cpu: int, size: int) -> None:
        with pytest.raises(KexecError) as caught:
            host.multikernel_send_ipi_data(cpu, bytes(size))
        assert caught.value.errno == errno.EINVAL
        assert host.machine.trace.of(Message) == []
        host.multikernel_send_ipi_data(0, b"usable")
        host.settle()
        assert "host: message from CPU 0: usable" in host.machine.console("host")

    def test_cpu_hotplug(self, host: Host) -> None:
        for bad in (4, -1):
            with pytest.raises(KexecError, match="not online"):
                host.cpu_down(bad)
        with pytest.raises(KexecError, match="EBUSY"):
            host.cpu_up(3)
        with pytest.raises(KexecError, match="runs this very call"):
            host.cpu_down(0)
        with pytest.raises(ValueError, match="via must be a CPU that is online in the host, not 9"):
            host.cpu_down(1, via=9)


class TestMemoryBeyondRam:
    def test_a_segment_outside_ram_is_accepted_as_linux_does(self, host: Host) -> None:
        """rfc-observed b: memory above the end of RAM: 0. The kick then leads nowhere, which is an event."""
        host.cpu_down(2)
        host.load(minikernel_image(0x8000000, 1, [2]))
        host.multikernel_kexec(2)
        stop = host.settle()
        assert stop.reason == "reset"
        assert "CPU 2" in stop.detail


class TestProc:
    def test_bytes(self, host: Host) -> None:
        empty = "Type        Start Address   Segments\n----------  --------------  --------\n"
        assert host.proc_multikernel() == empty + "No kimages loaded\n"
        for _ in range(2):
            host.load(minikernel_image(KERNEL_1, 1, [2]))
        assert host.proc_multikernel() == empty + "multikernel  0x000002000000         1\n" * 2
        assert len(host.proc_multikernel()) == 150  # rfc-observed c.proc.2

    def test_unload_takes_ten_at_a_time(self, host: Host) -> None:
        for _ in range(13):
            host.kexec_load(KERNEL_1, [KexecSegment(b"x", KERNEL_1, 0x1000)])
        for left in (3, 0):
            host.kexec_load(0, [])
            assert len(list(host.kimages)) == left


class TestLost:
    def test_a_message_to_an_offline_cpu(self, host: Host) -> None:
        """Its APIC is still enabled after play_dead, so the IPI is held; after INIT it is lost."""
        host.cpu_down(2)
        host.machine.store(0, 0xFEE00310, 2 << 24)
        host.machine.store(0, 0xFEE00300, 0x4500)
        host.settle()
        host.multikernel_send_ipi_data(2, b"gone")
        host.settle()
        assert host.machine.cpus[2].state is CpuState.WAIT_FOR_SIPI
        assert "software-disabled (SVR=0xff)" in host.machine.trace.of(Lost)[-1].why


def test_calls_can_be_interleaved_and_snapshot_between_steps(booted: str) -> None:
    """A run cut after any number of slices, put through JSON into another machine, ends with the same trace."""

    def begin(machine: Machine) -> Host:
        host = Host(machine)
        state.restore(machine, json.loads(booted))
        host.submit_load(minikernel_image(KERNEL_1, 1, [2]), via=0)
        host.submit("cpu_down", {"cpu": 3}, via=1)
        return host

    whole = begin(Machine(4))
    whole.settle()
    for cut in range(1, 30, 4):
        first = begin(Machine(4)).machine
        for _ in range(cut):
            first.step()
        second = Machine(4)
        Host(second)
        state.restore(second, json.loads(json.dumps(state.state(first))))
        second.run()
        assert second.trace.sha256 == whole.machine.trace.sha256
    assert [whole.cpu_online(cpu) for cpu in range(4)] == [True, True, True, False]
    assert "kernel 1" in whole.machine.images


@pytest.mark.parametrize("quantum", [7, 100_000])
def test_any_quantum_leads_to_the_same_end(quantum: int) -> None:
    machine = Machine(2, schedule=RoundRobin(quantum))
    host = Host(machine)
    host.boot()
    spawn(host, cpu=1)
    assert machine.cpus[1].owner == "kernel 1"


def test_every_act_from_outside_is_journalled(host: Host) -> None:
    before = len(host.machine.trace.of(Input))
    host.cpu_down(2)
    host.machine.poke(KERNEL_1, b"x")
    host.machine.console_input("host", b"hi")
    names = [event.name for event in host.machine.trace.of(Input)][before:]
    assert names == ["submit", "poke", "console_input"]


class TestNothingIsLost:
    """Whatever a caller or a guest does wrong: a clear error, and a machine that can be used afterwards."""

    def usable(self, host: Host) -> None:
        host.multikernel_send_ipi_data(0, b"still here")
        host.settle()
        assert "host: message from CPU 0: still here" in host.machine.console("host")

    @pytest.mark.parametrize("cpu", ["a", None, 1.5, 1 << 40])
    def test_arguments_that_no_system_call_can_carry(self, host: Host, cpu: int) -> None:
        for call in (host.multikernel_kexec, host.cpu_up, host.cpu_down):
            with pytest.raises(ValueError, match=r"cpu must be -2147483648 to 2147483647 \(an int\), not"):
                call(cpu)
        with pytest.raises(TypeError, match="data must be bytes, not 'text'"):
            host.multikernel_send_ipi_data(2, "text")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="mem must be 0 to"):
            host.kexec_load(0, [KexecSegment(b"", -1, 0x1000)])
        self.usable(host)

    def test_a_corrupt_list_is_an_oops_of_the_caller(self, host: Host) -> None:
        host.load(minikernel_image(KERNEL_1, 1, [2]))
        host.kimages.state.set("list_prev", 0xDEAD0000_00000000)
        with pytest.raises(
            MklabError, match=r"oops: kexec_image_list leads to 0xdead000000000000, where there is no memory"
        ):
            host.load(minikernel_image(KERNEL_2, 2, [2]))
        with pytest.raises(KexecError, match="EBUSY"):  # the lock died with it
            host.load(minikernel_image(KERNEL_2, 2, [2]))
        self.usable(host)

    def test_a_circle_in_the_list_is_reported(self, host: Host) -> None:
        host.load(minikernel_image(KERNEL_1, 1, [2]))
        node = next(iter(host.kimages))
        node.set("list_next", node.address("list_next"))
        with pytest.raises(MklabError, match="runs in a circle through"):
            host.proc_multikernel()

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("kexec_image", 1 << 60, "oops: kexec_image points to 0x1000000000000000, where there is no memory"),
            ("nr_segments", 17, r"oops: kimage\.nr_segments at 0x[0-9a-f]+ is 17, over 16"),
        ],
    )
    def test_a_corrupt_ordinary_image_cannot_be_entered(self, host: Host, field: str, value: int, words: str) -> None:
        host.kexec_load(KERNEL_1, [KexecSegment(b"", KERNEL_1, 0x1000)], 0)
        (image,) = host.kimages
        (host.kimages.state if field == "kexec_image" else image).set(field, value)
        with pytest.raises(MklabError, match=words):
            host.reboot(LINUX_REBOOT_CMD_KEXEC)

    def test_nor_does_it_matter_what_its_kernel_is_called(self, host: Host) -> None:
        """The number is for people: written over, the image is entered all the same, and has a name."""
        host.kexec_load(KERNEL_1, [KexecSegment(b"\xfa\xf4", KERNEL_1, 0x1000)], 0)
        next(iter(host.kimages)).set("id", 77)
        host.reboot(LINUX_REBOOT_CMD_KEXEC)
        host.settle()
        assert host.machine.cpus[0].owner == "kernel 77"
        assert host.machine.images["kernel 77"].entry == KERNEL_1

    def test_a_memory_map_that_was_written_over(self, host: Host) -> None:
        host.boot_info.set("nr_ram", 9)
        with pytest.raises(MklabError, match="the memory map of host has 9 ranges, and room for 8"):
            host.proc_iomem()
        with pytest.raises(MklabError, match="kexec_load did not return: oops: the memory map of host has 9 ranges"):
            host.load(minikernel_image(KERNEL_1, 1, [2]))

    @pytest.mark.parametrize("steps", [1, 2])
    def test_a_table_of_cpus_that_is_written_over_during_a_call(self, host: Host, steps: int) -> None:
        for function, values in (("cpu_down", {"cpu": 2}), ("multikernel_send_ipi_data", MESSAGE)):
            call = host.submit(function, values, via=1)
            for _ in range(steps):
                host.machine.step()
            host.boot_info.set("nr_cpu_ids", 1)
            with contextlib.suppress(MklabError):
                host.finish(call)
            assert call.done
            host.boot_info.set("nr_cpu_ids", 4)
        self.usable(host)

    def test_a_cpu_that_is_not_where_the_table_says(self, host: Host) -> None:
        """Bad or absent: -EINVAL, and two lines of smpboot's."""
        host.cpu_down(2)
        host.load(minikernel_image(KERNEL_1, 1, [2]))
        host.boot_info.set("apicid", 77, 2)
        with pytest.raises(KexecError, match="-EINVAL: this machine has no CPU with the APIC id 0x4d"):
            host.multikernel_kexec(2)
        assert printed(host)[-1] == "smpboot: CPU 2 APIC ID 4d is not present. Aborting bringup"
        assert host.kimages.state.get("kexec_lock") == 0
        with pytest.raises(KexecError, match="cpu_up: -EINVAL"):
            host.cpu_up(2)
        assert printed(host)[-1] == "smpboot: CPU 2 APIC ID 4d is not present. Aborting bringup"
        assert host.machine.trace.of(Lost) == []

    def test_a_cpu_that_does_not_come_up_or_go_down(self, host: Host) -> None:
        """Linux gives up waiting for a CPU that comes, with -EIO, and waits for ever for one that goes (f.init)."""
        host.cpu_down(2)
        trampoline = host.machine.memory.read_u64(host.symbol("x86_trampoline_bsp_base"))
        host.machine.poke(trampoline, b"\xfa\xf4")  # cli; hlt
        with pytest.raises(KexecError, match="cpu_up: -EIO: CPU 2 did not come up"):
            host.cpu_up(2)
        host.machine.store(0, 0xFEE00310, 3 << 24)
        host.machine.store(0, 0xFEE00300, 0x4500)
        with pytest.raises(MklabError, match="cpu_down did not return: it waits for ever: CPU 3 did not die"):
            host.cpu_down(3)
        self.usable(host)

    def test_after_a_platform_reset_a_host_must_be_booted(self, host: Host) -> None:
        host.machine.poke(KERNEL_1, bytes.fromhex("0f0b"))  # ud2 ...
        registers = host.machine.registers(1)
        registers.rip, registers.idtr.limit = KERNEL_1, 0  # ... without an IDT
        host.machine.patch_registers(1, registers)
        assert host.settle().reason == "reset"
        with pytest.raises(MklabError, match=r"triple fault at 0x2000000.*boot a host again"):
            host.multikernel_send_ipi_data(0, b"x")
        host.boot()
        assert host.machine.calls == []
        self.usable(host)

    def test_a_call_ends_with_the_cpu_it_ran_on(self, host: Host) -> None:
        call = host.submit("cpu_down", {"cpu": 2}, via=1)
        host.machine.step()
        host.machine.store(0, 0xFEE00310, 1 << 24)
        host.machine.store(0, 0xFEE00300, 0x4500)
        assert call.done
        assert call.reason == "CPU 1, on which it ran, was reset"
        self.usable(host)

    def test_the_newer_image_owns_what_lies_under_both(self, host: Host) -> None:
        host.cpu_down(2)
        host.load(minikernel_image(KERNEL_1, 1, [2]))
        host.kexec_load(0, [])
        host.load(minikernel_image(KERNEL_1, 2, [2]))
        host.multikernel_kexec(2)
        host.settle()
        assert host.machine.cpus[2].owner == "kernel 2"
        assert host.machine.console("kernel 2").splitlines()[-1].startswith("kernel 2 up")


class TestRunning:
    def test_a_run_cannot_be_nested(self, host: Host) -> None:
        host.submit_message(0, b"x")
        with pytest.raises(MklabError, match="the machine runs already"):
            host.machine.run(1000, lambda machine: bool(machine.run(10)))
        host.settle()

    @pytest.mark.parametrize("choice", [(3, 0), (9, 5), (1, 5)])
    def test_a_schedule_that_chooses_badly(self, choice: tuple[int, int]) -> None:
        class Bad(RoundRobin):
            def choose(self, runnable: object) -> tuple[int, int]:
                return choice

        machine = Machine(4, schedule=Bad())
        Host(machine).start()
        with pytest.raises(ValueError, match=r"schedule must choose one of \[0\] and a budget from 1 on, not"):
            machine.run(100)

    def test_looking_changes_nothing(self, booted: str) -> None:
        hashes = set()
        for look in (False, True):
            machine = Machine(4)
            host = Host(machine)
            state.restore(machine, json.loads(booted))
            host.submit_message(2, b"x")
            while machine.step() is None:
                if look:
                    for cpu in range(4):
                        machine.registers(cpu)
                    state.state(machine)
            hashes.add(machine.trace.sha256)
        assert len(hashes) == 1


class TestDamagedState:
    @pytest.mark.parametrize(
        "key", ["time", "cpus", "registers", "extended", "memory", "board", "schedule", "trace", "calls"]
    )
    def test_is_refused_and_the_machine_stays(self, host: Host, booted: str, key: str) -> None:
        before = json.dumps(state.state(host.machine))
        for damage in ("missing", None, [1]):
            data = json.loads(booted)
            if damage == "missing":
                del data[key]
            else:
                data[key] = damage
            with pytest.raises(ValueError, match="the state"):
                state.restore(host.machine, data)
            assert json.dumps(state.state(host.machine)) == before

    def test_without_a_host_a_call_waits(self, host: Host) -> None:
        host.submit("cpu_down", {"cpu": 2})
        other = Machine(4)
        state.restore(other, json.loads(json.dumps(state.state(host.machine))))
        with pytest.raises(MklabError, match=r"make Host\(machine\) first"):
            other.run()
        Host(other)
        assert other.run().reason == "idle"
