"""The message area as a piece of memory (RFC v1, patch 4): defects 32 to 36."""

from mklab.guest import abi, build
from mklab.guest.abi import BOOT_INFO, MK_IPI_DATA, MULTIKERNEL_VECTOR, NR_CPUS
from mklab.kernel import kexec_elf
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import PAGE_SIZE, KexecSegment, LoadedImage
from mklab.kernel.layout import FREE_PAGES, HOST_END, SHARED_MEMORY
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import booted, outcome, spawn, window
from mklab.machine.machine import Machine
from mklab.structs import Field, Struct
from mklab.trace import MessageTaken

__all__ = ["DEFECTS"]

_SLOTS = NR_CPUS * MK_IPI_DATA.size
_SIZE = _SLOTS + PAGE_SIZE
"""MK_MEM_SIZE."""

_MANY_CPUS = 8192
"""CONFIG_NR_CPUS of a distribution's kernel."""

_SLOT_32 = Struct(
    "mk_ipi_data",
    Field("sender_cpu", "s32"),
    Field("type", "u32"),
    Field("data_size", "u32"),  # size_t
    Field("buffer", "u8", 256),
)
"""The slot as a kernel built for 32 bits has it: 268 bytes."""


def _printed(host: Host, kernel: str, word: str) -> str:
    """The last line of ``kernel`` that holds ``word``."""
    return next((line for line in reversed(host.machine.console(kernel).splitlines()) if word in line), "")


def _taken(host: Host) -> MessageTaken:
    return host.machine.trace.of(MessageTaken)[-1]


def _image_with_many_cpus(base: int, number: int, apicid: int) -> LoadedImage:
    """A minikernel like the others, but built with another NR_CPUS."""
    usual = minikernel_image(base, number, [apicid])
    at = usual.symbols["mk_boot_info"] - usual.segments[0].mem
    files, script = build.sources("minikernel")
    files["abi.h"] = abi.header().replace(f"#define NR_CPUS {NR_CPUS}\n", f"#define NR_CPUS {_MANY_CPUS}\n")
    image = kexec_elf.load(build.build(files, script), base=base)
    return image.patched("mk_boot_info", usual.segments[0].buf[at : at + BOOT_INFO.size])


def _layouts() -> list[Finding]:
    """Kernel 1 fills slot 3 as a 32-bit build has it; then kernel 2 boots, built with another NR_CPUS."""
    host = booted(4)
    memory = host.machine.memory
    spawn(host, 1, 1)
    kernel = host.kernel("kernel 1")
    slot = SHARED_MEMORY + 3 * _SLOT_32.size
    for name, value in (("sender_cpu", 1), ("type", 77), ("data_size", 5)):
        kernel.store(slot + _SLOT_32.offsets[name], value.to_bytes(4, "little"))
    kernel.store(slot + _SLOT_32.offsets["buffer"], b"hello")
    kernel.send_by_hand(MULTIKERNEL_VECTOR, 3)
    host.settle()
    read = _taken(host)

    host.multikernel_send_ipi_data(1, b"alive?")
    host.settle()
    answer = _printed(host, "host", "answer from CPU 1")
    host.cpu_down(2)
    host.load(_image_with_many_cpus(window(2), 2, 2))
    host.multikernel_kexec(2)
    host.wait_online("kernel 2", 2)
    sizes = [_printed(host, name, "Allocated and mapped").rpartition("size=")[2] for name in ("host", "kernel 2")]
    (start, end) = host.machine.images["kernel 1"].ranges[0]
    wiped = not any(memory.read(start, end - start))
    host.submit_message(1, b"alive?")
    stop = host.settle()
    return [
        Finding(
            f"kernel 1 writes type 77 from CPU 1 for CPU 3 as a 32-bit build would, at offset {slot - SHARED_MEMORY}; "
            f"CPU 3 reads offset {read.slot - SHARED_MEMORY}: type {read.type} from CPU {read.sender}, letters "
            "of the message",
            read.slot != slot and (read.type, read.sender) != (77, 1),
        ),
        Finding(
            f"the host takes the area for {sizes[0]}, kernel 2 (NR_CPUS={_MANY_CPUS}) for {sizes[1]}, and zeroes them: "
            f"kernel 1, which had said '{answer}', {'is all zero' if wiped else 'is untouched'}; its next message ends "
            f"in: {stop.detail}",
            sizes[0] != sizes[1] and answer.endswith("alive?") and wiped and stop.reason == "reset",
        ),
    ]


def _plain_ram() -> list[Finding]:
    """mk_shared_memory= names RAM that the host goes on to hand out; an image is loaded, and a message sent."""
    area = FREE_PAGES[0]
    machine = Machine(2)
    machine.poke(area, b"\xaa" * _SIZE)
    host = Host(machine)
    host.boot(f"mk_shared_memory={area:#x}")
    zeroed = not any(machine.memory.read(area, _SLOTS))
    pages = range(area, area + _SIZE, PAGE_SIZE)
    free = [page for page in pages if not host.kimages.pages.page(page).get("flags")]
    data = b"\x55" * 16 * PAGE_SIZE
    host.kexec_load(HOST_END, [KexecSegment(data, HOST_END, len(data))], 0)
    taken = [page for page in free if host.kimages.pages.page(page).get("flags")]
    before = [machine.memory.read(page, PAGE_SIZE) for page in taken]
    host.multikernel_send_ipi_data(1, b"x" * 100, 7)
    after = [machine.memory.read(page, PAGE_SIZE) for page in taken]
    spoilt = [page for page, old, new in zip(taken, before, after, strict=True) if old != new]
    return [
        Finding(f"what lay at {area:#x} is {'zero' if zeroed else 'still there'} once the host is up", zeroed),
        Finding(
            f"{len(taken)} of the area's {len(pages)} pages are handed out to an ordinary kexec image; a message to "
            f"CPU 1 changes the image's {', '.join(map(hex, spoilt)) or 'pages nowhere'}",
            bool(taken) and bool(spoilt),
        ),
    ]


def _slack() -> list[Finding]:
    """Bytes are put where the area will be before the host boots; then its end is looked at."""
    machine = Machine(1)
    machine.poke(SHARED_MEMORY, b"\xaa" * (_SIZE + PAGE_SIZE - _SIZE % PAGE_SIZE))
    host = Host(machine)
    host.boot()
    slots, slack = machine.memory.read(SHARED_MEMORY, _SLOTS), machine.memory.read(SHARED_MEMORY + _SLOTS, PAGE_SIZE)
    line = next(line for line in host.proc_iomem().splitlines() if "Multikernel Shared Memory" in line).strip()
    return [
        Finding(
            f"of {_SIZE} bytes the {_SLOTS} of the slots are zeroed; in the {PAGE_SIZE} behind them, "
            f"{slack.count(0xAA)} keep what was there",
            not any(slots) and slack == b"\xaa" * PAGE_SIZE,
        ),
        Finding(f"the area ends inside a page: '{line}'", line.endswith("3ff : Multikernel Shared Memory")),
    ]


def _reserved() -> Host:
    """A host whose area is told to lie in memory that is not its RAM, as memmap= would reserve it."""
    return booted(2, cmdline=f"mk_shared_memory={HOST_END:#x}")


def _too_early() -> list[Finding]:
    """mk_shared_memory= names memory that is truly reserved; the host boots on, and is asked to send."""
    host = _reserved()
    usual = booted(2)
    results = [outcome(one.multikernel_send_ipi_data, 1, b"x") for one in (host, usual)]
    failed = _printed(host, "host", "Failed to map")
    return [
        Finding(
            f"'{failed}', and yet the host is up on {sum(host.cpu_online(cpu) for cpu in range(2))} CPUs; where the "
            f"area is RAM: '{_printed(usual, 'host', 'Allocated and mapped')}'",
            bool(failed) and host.cpu_online(1) and not _printed(usual, "host", "Failed to map"),
        ),
        Finding(f"sending gives {results[0]}; where the area is RAM, {results[1]}", results == ["-ENOMEM", "0"]),
    ]


def _result_ignored() -> list[Finding]:
    """The mapping fails as in defect 35; /proc/iomem is read, and an IPI sent all the same."""
    host = _reserved()
    line = next((line for line in host.proc_iomem().splitlines() if "Multikernel" in line), "").strip()
    host.send_by_hand(MULTIKERNEL_VECTOR, 1)
    host.settle()
    last = host.machine.console("host").splitlines()[-1]
    return [
        Finding(f"/proc/iomem has what was never mapped: '{line}'", line.startswith(f"{HOST_END:08x}-")),
        Finding(f"an IPI prints '{last}'", last == "Multikernel IPI received but shared memory not initialized"),
    ]


DEFECTS: tuple[Defect, ...] = (
    Defect(
        32,
        "A layout of each build's own",
        "patch 4, struct mk_shared_data: it depends on NR_CPUS and size_t, and has no magic, version or length",
        _layouts,
    ),
    Defect(
        33,
        "The area that is given is not reserved",
        "patch 4, mk_shared_memory_init: an address from mk_shared_memory= goes past memblock_reserve",
        _plain_ram,
    ),
    Defect(
        34,
        "Slack that nobody zeroes",
        "patch 4, MK_MEM_SIZE: the slots and one page more, no multiple of a page; memset covers the slots only",
        _slack,
    ),
    Defect(
        35,
        "Initialised too early",
        "patch 4, start_kernel: multikernel_init runs before vmalloc works, so only RAM can be mapped",
        _too_early,
    ),
    Defect(
        36,
        "A failure without consequence",
        "patch 4, start_kernel: the result of multikernel_init is ignored, and the range registered in iomem",
        _result_ignored,
    ),
)
