"""Three kernels on four CPUs, and what each can be asked in its own process context."""

import errno
import json

import pytest

from mklab.errors import KexecError, MklabError, OopsError
from mklab.guest.abi import MK_PFN_IPI_TYPE, Work
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.instance import Kernel
from mklab.kernel.layout import HOST_BASE, HOST_END, SHARED_MEMORY, WINDOW
from mklab.machine import state
from mklab.machine.machine import Machine
from mklab.trace import AbsentAccess, Message, MessageTaken, Step

VECTOR = 0xEA


def three_kernels() -> Machine:
    """The host on CPUs 0 and 3, kernel 1 on CPU 1, kernel 2 on CPU 2."""
    machine = Machine(4)
    host = Host(machine)
    host.boot()
    for number in (1, 2):
        host.cpu_down(number)
        host.load(minikernel_image(HOST_END + (number - 1) * WINDOW, number, [number]))
        host.multikernel_kexec(number)
        host.wait_online(f"kernel {number}", number)
        host.kexec_load(0, [])  # or the second kick would start the first image again (defect 21)
    return machine


@pytest.fixture(scope="module")
def running() -> str:
    return json.dumps(state.state(three_kernels()))


@pytest.fixture
def host(running: str) -> Host:
    machine = Machine(4)
    host = Host(machine)
    state.restore(machine, json.loads(running))
    return host


def test_owners(host: Host) -> None:
    assert [cpu.owner for cpu in host.machine.cpus] == ["host", "kernel 1", "kernel 2", "host"]


@pytest.mark.parametrize(
    ("sender", "target"),
    [("host", 1), ("host", 2), ("kernel 1", 0), ("kernel 1", 2), ("kernel 2", 0), ("kernel 2", 1)],
)
def test_messages_in_any_direction_by_slot_and_icr(host: Host, sender: str, target: int) -> None:
    """rfc-observed l.ipi: past the API, since v1's numbering names only a kernel's own CPUs (defect 29)."""
    kernel = Kernel(host.machine, sender)
    own = host.machine.cpus[kernel.index(0)].apic_id
    kernel.send_by_hand(VECTOR, target, slot=target, sender=own, type=1, size=5, data=b"hello")
    host.settle()
    there, back = host.machine.trace.of(MessageTaken)[-2:]
    assert (there.cpu, there.sender, bytes.fromhex(there.payload)) == (target, own, b"hello")
    assert (back.cpu, back.sender, back.type, bytes.fromhex(back.payload)) == (own, target, 2, b"hello")


def test_through_the_api_the_host_reaches_anybody(host: Host) -> None:
    """Its logical numbers are the physical ids of this machine."""
    for cpu in (1, 2, 3):
        host.multikernel_send_ipi_data(cpu, b"x")
        host.settle()
        assert host.machine.trace.of(MessageTaken)[-1].sender == cpu


def test_a_spawned_kernels_cpu_0_is_itself(host: Host) -> None:
    """Defect 29: what it sends to its CPU 0 lands in slot 0, and it reads slot 1."""
    kernel = host.kernel("kernel 1")
    kernel.multikernel_send_ipi_data(0, b"to the host?", 7)
    host.settle()
    message = host.machine.trace.of(Message)[-1]
    assert (message.cpu, message.to_cpu) == (1, 1)
    assert host.machine.memory.read(SHARED_MEMORY + 16, 12) == b"to the host?"
    assert host.machine.console("kernel 1").splitlines()[-2].endswith("(physical id 1) from CPU 0 type=0")
    with pytest.raises(KexecError, match="EINVAL"):
        kernel.multikernel_send_ipi_data(1, b"x")


class TestHandlers:
    def test_every_handler_is_called_in_hard_irq_context_with_the_slot(self, host: Host) -> None:
        """rfc-observed k.handlers, defects 27 and 28."""
        for context in (1, 2):
            assert host.multikernel_register_handler(context)
        host.kernel("kernel 1").send_by_hand(VECTOR, 0, slot=0, sender=1, type=77, size=3, data=b"abc")
        host.settle()
        linear = 0xFFFF888000000000 + SHARED_MEMORY
        expected = {"type": 77, "sender_cpu": 1, "data_size": 3, "data": linear}
        seen = sorted(host.handler_records(), key=lambda record: record["context"])
        assert seen == [{"context": context, **expected} for context in (1, 2)]

    def test_a_handler_that_is_gone_is_not_called(self, host: Host) -> None:
        handle = host.multikernel_register_handler(1)
        host.multikernel_unregister_handler(handle)
        host.multikernel_unregister_handler(handle)  # k.unreg2: no visible failure
        host.multikernel_send_ipi_data(0, b"x", 9)
        host.settle()
        assert host.handler_records() == []

    def test_no_memory_for_a_ninth(self, host: Host) -> None:
        """The answering one is there from the start."""
        handles = [host.multikernel_register_handler(context) for context in range(1, 9)]
        assert [bool(handle) for handle in handles] == [True] * 7 + [False]

    def test_an_unbelievable_size_reaches_the_handlers(self, host: Host) -> None:
        """rfc-observed k.size64, defect 38."""
        host.multikernel_register_handler(1)
        host.kernel("kernel 2").send_by_hand(VECTOR, 0, slot=0, type=9, size=(1 << 64) - 1)
        host.settle()
        assert host.handler_records()[0]["data_size"] == (1 << 64) - 1


class TestPfn:
    def test_any_page_frame_number_is_taken(self, host: Host) -> None:
        """rfc-observed k.pfn, defect 37: the page is the host's own text."""
        host.mk_send_pfn(1, HOST_BASE >> 12)
        host.settle()
        message = host.machine.trace.of(MessageTaken)[-1]
        assert (message.cpu, message.type, message.size) == (1, MK_PFN_IPI_TYPE, 8)
        kernel = host.kernel("kernel 1")
        assert kernel.mk_receive_pfn() == HOST_BASE >> 12
        linear = kernel.mk_receive_map_page()
        assert kernel.direct_map.read(linear, 16) == host.machine.memory.read(HOST_BASE, 16)

    def test_sending_a_number_is_refused_by_name(self, host: Host) -> None:
        with pytest.raises(KexecError, match=r"^mk_send_pfn: -EINVAL: the CPU number is out of range"):
            host.mk_send_pfn(64, 1)
        with pytest.raises(KexecError, match=r"^mk_receive_pfn: -EINVAL: the message in the slot has another type"):
            host.mk_receive_pfn()
        for cpu, pfn, name in (("1", 1, "cpu"), (1 << 32, 1, "cpu"), (1, -1, "pfn"), (1, 1.0, "pfn")):
            with pytest.raises(ValueError, match=f"^{name} must be"):
                host.mk_send_pfn(cpu, pfn)  # type: ignore[arg-type]

    def test_another_type_or_size_is_einval(self, host: Host) -> None:
        kernel = host.kernel("kernel 1")
        for values in ({"type": 5, "size": 8}, {"type": MK_PFN_IPI_TYPE, "size": 7}):
            host.send_by_hand(VECTOR, 1, slot=1, data=bytes(8), **values)
            host.settle()
            with pytest.raises(KexecError) as caught:
                kernel.mk_receive_pfn()
            assert caught.value.errno == errno.EINVAL
            assert kernel.mk_receive_map_page() == 0


class TestHardwareIsAnybodys:
    def test_memory(self, host: Host) -> None:
        host.kernel("kernel 1").store(HOST_END + WINDOW, b"\xf4")
        assert host.machine.memory.read(HOST_END + WINDOW, 1) == b"\xf4"
        assert host.kernel("kernel 2").load_memory(HOST_END + WINDOW, 1) == b"\xf4"

    def test_own_text_by_another_mapping(self, host: Host) -> None:
        """W^X is a promise of the page tables only: a second mapping breaks it."""
        with pytest.raises(OopsError):
            host.kernel_write(HOST_BASE + 0x10, b"x")
        host.store(HOST_BASE + 0x10, b"x")
        assert host.machine.memory.read(HOST_BASE + 0x10, 1) == b"x"

    def test_ports(self, host: Host) -> None:
        host.kernel("kernel 1").out(0xCF9, 6)
        assert host.settle().reason == "reset"


class TestMisuse:
    def test_names_and_numbers(self, host: Host) -> None:
        with pytest.raises(ValueError, match=r"name must be one of \['host', 'kernel 1', 'kernel 2'\], not 'kernel 3'"):
            host.kernel("kernel 3")
        with pytest.raises(ValueError, match=r"cpu must be 0 to 0 \(the CPUs of kernel 1\), not 1"):
            host.kernel("kernel 1").index(1)
        with pytest.raises(ValueError, match="via must be a CPU that is online in kernel 1, not 3"):
            host.kernel("kernel 1").multikernel_send_ipi_data(0, b"", via=3)
        with pytest.raises(ValueError, match=r"each of args must be 0 to 18446744073709551615 \(a u64\), not -1"):
            host.work(Work.OUT, [-1])
        with pytest.raises(ValueError, match="data must be at most 256 bytes, not 257"):
            host.work(Work.STORE, [0, 257], bytes(257))
        with pytest.raises(ValueError, match="apicids must name 1 to 64 CPUs"):
            minikernel_image(HOST_END, 1, [])
        with pytest.raises(ValueError, match="each of apicids must be 0 to 255"):
            minikernel_image(HOST_END, 1, [256])

    def test_a_kernel_whose_cpu_was_taken(self, host: Host) -> None:
        """Defect 16: the host brings CPU 1 back, and kernel 1 is nowhere."""
        host.cpu_up(1)
        with pytest.raises(MklabError, match="CPU 1 runs host now, and kernel 1 on it no longer"):
            host.kernel("kernel 1").multikernel_send_ipi_data(0, b"")

    def test_a_spawned_kernel_without_a_trampoline_starts_no_cpu(self, host: Host) -> None:
        host.load(minikernel_image(HOST_END, 3, [1, 3]))
        host.multikernel_kexec(1)
        host.wait_online("kernel 3", 1)
        with pytest.raises(KexecError, match="ENODEV: kernel 3 has set up no trampoline"):
            host.kernel("kernel 3").cpu_up(1)


class TestTrampolineOfAChild:
    """Defect 11: v1's test whether it was spawned is commented out."""

    def load(self, host: Host, memory: list[tuple[int, int]]) -> None:
        host.cpu_up(1)
        host.cpu_down(1)
        host.load(minikernel_image(HOST_END, 3, [1, 2, 3], memory=memory, trampoline=True))
        host.multikernel_kexec(1)
        host.settle()

    def test_without_low_memory_it_panics(self, host: Host) -> None:
        """rfc-observed l.nolow."""
        self.load(host, [(HOST_END, HOST_END + WINDOW)])
        last = host.machine.console("kernel 3").splitlines()[-1]
        assert last == "Kernel panic - not syncing: Cannot allocate trampoline"
        host.multikernel_send_ipi_data(3, b"the host lives on")
        host.settle()
        assert "the host lives on" in host.machine.console("host")

    def test_with_low_memory_it_takes_the_hosts_page_and_then_its_cpus(self, host: Host) -> None:
        """rfc-observed l.low and l.smp: no line of the host's says so."""
        low = (0, 0x9F000)
        self.load(host, [low, (HOST_END, HOST_END + WINDOW)])
        child = host.kernel("kernel 3")
        base = host.machine.memory.read_u64(child.symbol("x86_trampoline_bsp_base"))
        assert base == host.machine.memory.read_u64(host.symbol("x86_trampoline_bsp_base"))
        before = host.machine.console("host")
        child.cpu_up(2)
        assert host.machine.cpus[3].owner == "kernel 3"
        assert host.machine.console("host") == before
        assert host.cpu_online(3), "so the host believes"


class TestX2apic:
    def test_the_whole_way_without_an_apic_page(self) -> None:
        """Ids and ICR by MSR, for the host's process context, its guest code and the spawned kernel's."""
        machine = Machine(3, apic_ids=[0, 200, 9], x2apic=True)
        host = Host(machine)
        host.boot()
        assert [host.apicid(cpu) for cpu in range(3)] == [0, 200, 9]
        host.cpu_down(2)
        host.load(minikernel_image(HOST_END, 1, [9, 0]))
        host.multikernel_kexec(2)
        host.wait_online("kernel 1", 2)
        host.send_by_hand(VECTOR, 9, slot=9, sender=0, type=1, size=4, data=b"ping")
        host.settle()
        assert [(e.cpu, e.type, bytes.fromhex(e.payload)) for e in machine.trace.of(MessageTaken)] == [
            (2, 1, b"ping"),
            (0, 2, b"ping"),
        ]
        assert machine.trace.of(AbsentAccess) == []
        init = next(step.detail for step in machine.trace.of(Step) if step.step == "init_assert")
        assert init == "ICR 0x000000c80000c500", "one register of 64 bits"

    def test_ids_beyond_the_minikernels_tables_are_refused(self) -> None:
        with pytest.raises(ValueError, match="each of apicids must be 0 to 255"):
            Host(Machine(2, apic_ids=[0, 256], x2apic=True)).boot()


def test_63_of_64_cpus_with_three_images() -> None:
    """By entry, since the system call would start the oldest image only (defect 21)."""
    machine = Machine(64, ram=96 << 20)
    host = Host(machine)
    host.boot()
    bases = {number: HOST_END + (number - 1) * WINDOW for number in (1, 2, 3)}
    for number, base in bases.items():
        host.load(minikernel_image(base, number, range(number, 64, 3)))
    for cpu in range(1, 64):
        number = (cpu - 1) % 3 + 1
        host.cpu_down(cpu)
        host.multikernel_kexec_by_entry(cpu, bases[number])
        host.wait_online(f"kernel {number}", cpu)
    owners = [cpu.owner for cpu in machine.cpus]
    assert owners == ["host", *(f"kernel {(cpu - 1) % 3 + 1}" for cpu in range(1, 64))]
    assert [image.get("start") for image in host.kimages] == list(bases.values())
    assert host.proc_multikernel().count("multikernel  ") == 3
    assert [cpu for cpu in range(64) if host.cpu_online(cpu)] == [0]
