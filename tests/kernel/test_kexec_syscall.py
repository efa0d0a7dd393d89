"""kexec_load(2): every errno, what each leaves behind, and what a Linux with the RFC's patches was seen to do.

Ids such as b.1T are those of the observations. The machine here has 64 MiB of RAM instead of 512.
"""

import json

import pytest

from mklab.errors import KexecError, MklabError, OopsError
from mklab.kernel.host import Host
from mklab.kernel.kexec import (
    KEXEC_CRASH_HOTPLUG_SUPPORT,
    KEXEC_MULTIKERNEL,
    KEXEC_ON_CRASH,
    KEXEC_PRESERVE_CONTEXT,
    KEXEC_UPDATE_ELFCOREHDR,
    KexecSegment,
)
from mklab.kernel.layout import HOST_BASE
from mklab.kernel.reboot import LINUX_REBOOT_CMD_MULTIKERNEL
from mklab.machine import state
from mklab.machine.machine import Machine
from mklab.trace import Printk
from tests.kernel.kexectools import HALT, A, B, count, count_at, load, memory, one, printed, sound, tables

CRASH = (0x3000000, 0x3400000)
MIB = 1 << 20
MK = KEXEC_MULTIKERNEL


def crashkernel(host: Host) -> None:
    """crashkernel=4M@48M."""
    host.kimages.state.set("crashk_start", CRASH[0])
    host.kimages.state.set("crashk_end", CRASH[1])


def refused(host: Host, entry: int, segments: list[KexecSegment] | None, flags: int, **extra: bool) -> KexecError:
    with pytest.raises(KexecError) as caught:
        host.kexec_load(entry, segments, flags, **extra)  # type: ignore[arg-type]
    return caught.value


def rows(*memory: tuple[int, int, int]) -> list[KexecSegment]:
    """Segments from (mem, memsz, bufsz)."""
    return [KexecSegment(bytes(bufsz), mem, memsz) for mem, memsz, bufsz in memory]


REFUSALS = [
    pytest.param(rows(*((A + i * 0x1000, 0x1000, 0) for i in range(17))), MK, "EINVAL", "17 segments", id="b.17"),
    pytest.param(rows((A + 0x10, 0x1000, 0)), MK, "EADDRNOTAVAIL", "whole pages", id="b.unaligned"),
    pytest.param(rows((A, 0x1001, 0)), MK, "EADDRNOTAVAIL", "whole pages", id="b.unalsz"),
    pytest.param(rows((A, 0x2000, 0), (A + 0x1000, 0x1000, 0)), MK, "EINVAL", "overlap at 0x2001000", id="b.overlap"),
    pytest.param(rows((A, 0x1000, 0x1001)), MK, "EINVAL", "4097 bytes for 4096", id="b.bufsz"),
    pytest.param(rows((1 << 52, 0x1000, 0)), MK, "EADDRNOTAVAIL", "beyond what kexec can reach", id="b.2^52"),
    pytest.param(rows(((1 << 64) - 0x1000, 0x1000, 0)), MK, "EADDRNOTAVAIL", "wraps round", id="b.wrap"),
    pytest.param(rows((A, 0x1000, 0)), MK | 40 << 16, "EINVAL", "architecture 40", id="b.archarm"),
    pytest.param(rows((A, 0x1000, 0)), MK | 3 << 16, "EINVAL", "architecture 3", id="b.arch386"),
    pytest.param(rows((A, 0x1000, 0)), MK | 0x20, "EINVAL", "unknown flags 0x20", id="b.flag20"),
    pytest.param(rows((A, 0x1000, 0)), MK | 0x8000, "EINVAL", "unknown flags 0x8000", id="b.flag8000"),
    pytest.param(rows((A, 0x1000, 0)), MK | 1 << 32, "EINVAL", "unknown flags 0x100000000", id="beyond-32-bits"),
    pytest.param(None, MK, "EFAULT", "cannot be read", id="b.segptr"),
    pytest.param(rows((A, 33 * MIB, 0)), MK, "EINVAL", "segment 0 takes 8448 pages", id="b.half1"),
    pytest.param(rows((A, 17 * MIB, 0), (0, 17 * MIB, 0)), MK, "EINVAL", "segments take 8704 pages", id="b.half2"),
    pytest.param(rows((A, 0x1000, 0)), KEXEC_ON_CRASH, "EADDRNOTAVAIL", "0x2000000 lies outside", id="no-crashkernel"),
    pytest.param(rows((A, 0x1000, 0)), KEXEC_ON_CRASH | MK, "EADDRNOTAVAIL", "lies outside", id="b.crashmk.out"),
    pytest.param(rows((A, 6 * MIB, 0)), 0, "ENOMEM", "no free page left", id="no-free-page"),
]


class TestRefusals:
    @pytest.mark.parametrize(("segments", "flags", "name", "words"), REFUSALS)
    def test_nothing_has_changed(
        self, host: Host, segments: list[KexecSegment] | None, flags: int, name: str, words: str
    ) -> None:
        load(host, B)
        before = tables(host), memory(host), len(printed(host))
        error = refused(host, A, segments, flags)
        assert error.name == name
        assert words in str(error)
        assert (tables(host), memory(host)) == before[:2]
        assert not any("Added" in line for line in printed(host)[before[2] :])
        load(host, A)

    def test_privileges(self, host: Host) -> None:
        """b.nocap; and the sysctl kexec_load_disabled."""
        before = tables(host)
        assert refused(host, A, one(), MK, privileged=False).name == "EPERM"
        assert refused(host, A, one(), 0, privileged=False).name == "EPERM"
        host.kimages.state.set("kexec_load_disabled", 1)
        assert refused(host, A, one(), MK).name == "EPERM"
        assert refused(host, A, [], MK).name == "EPERM"
        assert tables(host) == before

    def test_the_lock(self, host: Host) -> None:
        host.kimages.state.set("kexec_lock", 1)
        before = tables(host)
        for flags in (MK, 0):
            for segments in (one(), []):
                assert refused(host, A, segments, flags).name == "EBUSY"
        assert tables(host) == before

    def test_the_checks_come_in_linuxs_order(self, host: Host) -> None:
        """Each is passed by mending what the one before complains of."""
        host.kimages.state.set("kexec_lock", 1)
        many = rows(*((A + 8, 0x1000, 0x2000) for _ in range(17)))
        assert refused(host, A, many, MK | 0x20 | 3 << 16, privileged=False).name == "EPERM"
        assert "unknown flags" in refused(host, A, many, MK | 0x20 | 3 << 16).reason
        assert "17 segments" in refused(host, A, many, MK | 3 << 16).reason
        assert "architecture" in refused(host, A, None, MK | 3 << 16).reason
        assert refused(host, A, None, MK).name == "EFAULT"
        assert refused(host, A, many[:2], MK).name == "EBUSY"
        host.kimages.state.set("kexec_lock", 0)
        assert "outside the crashkernel" in refused(host, A, many[:2], MK | KEXEC_ON_CRASH).reason
        assert "whole pages" in refused(host, A, many[:2], MK).reason

    def test_arguments_that_no_system_call_can_carry(self, host: Host) -> None:
        for bad in (-1, 1 << 64, "16"):
            with pytest.raises(ValueError, match="flags must be 0 to"):
                host.kexec_load(A, one(), bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"readable must be 0 to 4 \(bytes of buf\), not 5"):
            host.kexec_load(A, [KexecSegment(HALT, A, 0x1000, readable=5)])


class TestAccepted:
    @pytest.mark.parametrize(
        ("entry", "segments", "flags"),
        [
            pytest.param(A, rows(*((A + i * 0x1000, 0x1000, 1) for i in range(16))), MK, id="b.16"),
            pytest.param(A, rows((A, 0x1000, 0)), MK, id="b.bufsz0"),
            pytest.param(A, rows((A, 0, 0)), MK, id="b.memsz0"),
            pytest.param(0xDEADBEEF, rows((A, 0x1000, 1)), MK, id="b.entry"),
            pytest.param(0x8000000000, rows((A, 0x1000, 1)), MK, id="b.entry512"),
            pytest.param(A, rows((A, 0x1000, 1)), MK | 62 << 16, id="b.arch64"),
            pytest.param(A, rows((A, 0x1000, 1)), MK | KEXEC_PRESERVE_CONTEXT, id="b.flags248-2"),
            pytest.param(A, rows((A, 0x1000, 1)), MK | KEXEC_UPDATE_ELFCOREHDR, id="b.flags248-4"),
            pytest.param(A, rows((A, 0x1000, 1)), MK | KEXEC_CRASH_HOTPLUG_SUPPORT, id="b.flags248-8"),
            pytest.param(A, rows((0x1F00000, 0x1000, 1)), MK, id="b.ram"),
            pytest.param(A, rows((A, 32 * MIB, 1)), MK, id="half-of-ram"),
        ],
    )
    def test_without_complaint(self, host: Host, entry: int, segments: list[KexecSegment], flags: int) -> None:
        host.kexec_load(entry, segments, flags)
        (image,) = host.kimages
        assert (image.get("type"), image.get("start"), image.get("nr_segments")) == (2, entry, len(segments))
        assert image.get("preserve_context") == flags >> 1 & 1
        assert image.get("control_code_page") == image.get("swap_page") == 0, "v1 skips them"
        sound(host)

    def test_the_log(self, host: Host) -> None:
        """b.ok: sizes are decimal behind 0x."""
        load(host, data=bytes(4096))
        assert printed(host) == [
            "kexec_core: Loading multikernel segment: mem=0x2000000, memsz=0x4096, buf=0x0000000000000000, "
            "bufsz=0x4096",
            "kexec: Added multikernel image to list (entry: 0x2000000)",
        ]

    def test_the_rest_of_a_segment_is_zero(self, host: Host) -> None:
        host.machine.poke(A - 0x1000, b"\xee" * 0x5000)
        host.kexec_load(A, [KexecSegment(b"\x11" * 0x1001, A, 0x3000)])
        assert host.machine.memory.read(A - 0x1000, 0x5000) == (
            b"\xee" * 0x1000 + b"\x11" * 0x1001 + bytes(0x1FFF) + b"\xee" * 0x1000
        )

    def test_above_the_end_of_ram(self, host: Host) -> None:
        """b.above: it reads back 00, for nothing is there."""
        host.kexec_load(A, one(1 << 30, b"\x11" * 4096))
        assert host.proc_multikernel().count("multikernel") == 1

    def test_loading_over_the_hosts_own_data(self, host: Host) -> None:
        """b.data (defect 14): the name with which the host speaks."""
        text = host.machine.memory.read(HOST_BASE, 0x10000)
        page = HOST_BASE + (text.index(b"Multikernel IPI received on") & -4096)
        changed = host.machine.memory.read(page, 4096).replace(b"Multikernel IPI", b"owned! IPI !!!!")
        host.kexec_load(A, one(page, changed))
        host.multikernel_send_ipi_data(0, b"x")
        host.settle()
        assert "owned! IPI !!!! received on CPU 0" in host.machine.console("host")

    def test_copying_is_at_once_and_for_good(self, host: Host) -> None:
        """b.copy (defect 15)."""
        for data in (b"\xaa", b"\xbb"):
            host.kexec_load(A, one(A, data * 4096))
            assert host.machine.memory.read(A, 4096) == data * 4096
        host.kexec_load(0, [])
        assert host.machine.memory.read(A, 4096) == b"\xbb" * 4096


class TestFaults:
    def test_a_buffer_that_ends_halfway(self, host: Host) -> None:
        """b.efault: page 0 is copied, page 1 zeroed, page 2 untouched; the image is not listed."""
        host.machine.poke(A, b"\x11" * 0x1000 + b"\x22" * 0x1000 + b"\x33" * 0x1000)
        before = tables(host)
        segment = KexecSegment(b"\xc3" * 0x3000, A, 0x3000, readable=0x1000)
        assert refused(host, A, [segment], MK).name == "EFAULT"
        assert host.machine.memory.read(A, 0x3000) == b"\xc3" * 0x1000 + bytes(0x1000) + b"\x33" * 0x1000
        assert tables(host) == before
        assert "Added" not in "".join(printed(host))

    @pytest.mark.parametrize("readable", [0, 1, 0xFFF, 0x1FFF])
    def test_and_in_the_middle_of_a_page(self, host: Host, readable: int) -> None:
        host.machine.poke(A, b"\x11" * 0x3000)
        segment = KexecSegment(b"\xc3" * 0x2000, A, 0x3000, readable=readable)
        assert refused(host, A, [segment], MK).name == "EFAULT"
        reached = readable // 0x1000 * 0x1000 + 0x1000
        assert host.machine.memory.read(A, 0x3000) == (b"\xc3" * readable).ljust(reached, b"\0").ljust(0x3000, b"\x11")

    def test_a_buffer_that_is_read_to_its_end(self, host: Host) -> None:
        host.kexec_load(A, [KexecSegment(HALT, A, 0x2000, readable=len(HALT))])
        assert len(list(host.kimages)) == 1

    def test_an_ordinary_image_touches_nothing_before_its_time(self, host: Host) -> None:
        before = memory(host), tables(host)
        segment = KexecSegment(b"\xc3" * 0x3000, A, 0x3000, readable=0x1800)
        assert refused(host, A, [segment], 0).function == "kimage_load_normal_segment"
        assert (memory(host), tables(host)) == before

    def test_beyond_the_cpus_address_bits(self, host: Host) -> None:
        """b.1T: -ENOMEM, with two lines; the image is not listed."""
        before = tables(host)
        error = refused(host, A, one(1 << 40), MK)
        assert (error.name, error.function) == ("ENOMEM", "kimage_load_multikernel_segment")
        assert printed(host)[-2:] == [
            "ioremap: invalid physical address 10000000000",
            "kexec_core: Failed to memremap memory at 0x10000000000",
        ]
        assert tables(host) == before

    def test_page_by_page_up_to_the_address_that_is_none(self, host: Host) -> None:
        """The first segment is in memory when the second one fails; a segment that begins below 1 TiB fails inside."""
        host.machine.poke(A, b"\x11" * 4096)
        assert refused(host, A, one() + one((1 << 40) - 0x1000, HALT, 0x2000), MK).name == "ENOMEM"
        assert host.machine.memory.read(A, 4096) == HALT.ljust(4096, b"\0")
        assert printed(host)[-1] == "kexec_core: Failed to memremap memory at 0x10000000000"

    def test_a_store_that_the_host_may_not_do(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        """b.text (defect 14): the caller dies with kexec_lock held; every later call is refused; /proc can be read."""

        def read_only(paddr: int, _data: bytes) -> None:
            raise OopsError(f"write page fault at {paddr:#x} (error_code 0003)")

        load(host)
        with monkeypatch.context() as patch:
            patch.setattr(host, "kernel_write", read_only)
            with pytest.raises(MklabError, match=r"kexec_load did not return: oops: write page fault at 0x2100000"):
                load(host, B)
        for segments in (one(), []):
            assert refused(host, A, segments, MK).name == "EBUSY"
        host.cpu_down(1)
        with pytest.raises(KexecError, match="EBUSY"):
            host.multikernel_kexec(1)
        with pytest.raises(KexecError, match="EBUSY"):
            host.reboot(LINUX_REBOOT_CMD_MULTIKERNEL, cpu=1)
        assert len(host.proc_multikernel()) == 112


class TestUnloading:
    def test_none_loaded(self, host: Host) -> None:
        """b.nr0."""
        host.kexec_load(0, [])
        assert printed(host) == ["kexec: Unloaded 0 multikernel images"]

    def test_ten_at_a_time(self, host: Host) -> None:
        """b.13 (defect 23): the newest three are left, and both calls return 0."""
        for index in range(13):
            load(host, A + index * 0x1000)
        host.kexec_load(0, [])
        assert [image.get("start") for image in host.kimages] == [A + index * 0x1000 for index in (10, 11, 12)]
        host.kexec_load(0, [])
        assert [line for line in printed(host) if "Unloaded" in line] == [
            "kexec: Unloaded 10 multikernel images",
            "kexec: Unloaded 3 multikernel images",
        ]
        sound(host)

    def test_by_type(self, host: Host) -> None:
        """b.nr0.mixed: three multikernel images go, the ordinary and the crash image stay; then each by its flag."""
        crashkernel(host)
        free = host.kimages.pages.free
        for _ in range(3):
            load(host)
        load(host, B, flags=0)
        load(host, CRASH[0], flags=KEXEC_ON_CRASH)
        host.kexec_load(0, [])
        assert printed(host)[-1] == "kexec: Unloaded 3 multikernel images"
        assert [image.get("type") for image in host.kimages] == [0, 1]
        lines = len(printed(host))
        host.kexec_load(0, [], KEXEC_ON_CRASH)
        assert [image.get("type") for image in host.kimages] == [0]
        host.kexec_load(0, [], 0)
        assert list(host.kimages) == []
        assert [host.kimages.state.get(name) for name in ("kexec_image", "kexec_crash_image")] == [0, 0]
        assert host.kimages.pages.free == free
        for flags in (0, KEXEC_ON_CRASH):
            host.kexec_load(0, [], flags)
        assert len(printed(host)) == lines, "v1 prints only what it unloads of its own type"

    def test_kernels_that_run_go_on(self, host: Host) -> None:
        """e.unload."""
        host.cpu_down(1)
        load(host, A, count(A))
        host.multikernel_kexec(1)
        host.machine.run(30_000)
        host.kexec_load(0, [])
        before = count_at(host, A)
        assert before > 0
        host.machine.run(30_000)
        assert count_at(host, A) > before


class TestTypes:
    def test_proc(self, host: Host) -> None:
        """c.proc.*: bytes of every table."""
        crashkernel(host)
        lengths = [len(host.proc_multikernel())]
        for entry, segments, flags in (
            (A, one(), MK),
            (A, one(), MK),
            (B, rows((B, 0x1000, 1), (B + 0x1000, 0x1000, 1)), MK),
            (0x1E00000, one(0x1E00000), 0),
            (CRASH[0], one(CRASH[0]), KEXEC_ON_CRASH),
        ):
            host.kexec_load(entry, segments, flags)
            lengths.append(len(host.proc_multikernel()))
        assert lengths == [92, 112, 150, 188, 225, 262]
        assert host.proc_multikernel().splitlines(keepends=True)[2:] == [
            "multikernel  0x000002000000         1\n",
            "multikernel  0x000002000000         1\n",
            "multikernel  0x000002100000         2\n",
            "default     0x000001e00000         1\n",
            "crash       0x000003000000         1\n",
        ]

    def test_an_ordinary_image_takes_the_place_of_the_one_before(self, host: Host) -> None:
        free = host.kimages.pages.free
        load(host, A, flags=0)
        used = free - host.kimages.pages.free
        load(host)
        load(host, B, flags=0)
        assert [(image.get("type"), image.get("start")) for image in host.kimages] == [(2, A), (0, B)]
        assert free - host.kimages.pages.free == used
        sound(host)

    def test_a_refused_ordinary_image_leaves_the_one_before(self, host: Host) -> None:
        load(host, A, flags=0)
        before = tables(host)
        assert refused(host, B, rows((B, 0x1000, 0x1001)), 0).name == "EINVAL"
        assert tables(host) == before

    def test_a_refused_crash_image_does_not(self, host: Host) -> None:
        """do_kexec_load frees the old one before it looks at the new one."""
        crashkernel(host)
        load(host, CRASH[0], flags=KEXEC_ON_CRASH)
        assert refused(host, A, one(CRASH[0]), KEXEC_ON_CRASH).name == "EADDRNOTAVAIL"
        assert list(host.kimages) == []
        assert host.kimages.state.get("kexec_crash_image") == 0

    @pytest.mark.parametrize(
        ("entry", "mem", "memsz", "ok"),
        [
            (CRASH[0], CRASH[0], 0x1000, True),
            (CRASH[1] - 1, CRASH[1] - 0x1000, 0x1000, True),
            (CRASH[0] - 1, CRASH[0], 0x1000, False),
            (CRASH[1], CRASH[0], 0x1000, False),
            (CRASH[0], CRASH[0] - 0x1000, 0x1000, False),
            (CRASH[0], CRASH[1] - 0x1000, 0x2000, False),
            (CRASH[0], CRASH[1], 0, True),
            (CRASH[0], CRASH[1] + 0x1000, 0, False),
        ],
    )
    def test_a_crash_image_lies_within_its_region(self, host: Host, entry: int, mem: int, memsz: int, ok: bool) -> None:
        crashkernel(host)
        if ok:
            host.kexec_load(entry, [KexecSegment(b"", mem, memsz)], KEXEC_ON_CRASH)
        else:
            assert refused(host, entry, [KexecSegment(b"", mem, memsz)], KEXEC_ON_CRASH).name == "EADDRNOTAVAIL"

    def test_a_crash_image_and_its_control_pages_fill_only_holes(self, host: Host) -> None:
        crashkernel(host)
        segments = [KexecSegment(b"\x11" * 0x1000, CRASH[0] + at, 0x1000) for at in (0, 0x3000, 0x5000)]
        host.kexec_load(CRASH[0], segments, KEXEC_ON_CRASH)
        (image,) = host.kimages
        assert image.get("control_code_page") == CRASH[0] + 0x6000, "two pages, aligned"
        assert image.get("head") == 4, "IND_DONE: nothing to copy"
        for segment in segments:
            assert host.machine.memory.read(segment.mem, 0x1000) == b"\x11" * 0x1000

    def test_a_crash_region_that_is_full(self, host: Host) -> None:
        crashkernel(host)
        segment = KexecSegment(b"", CRASH[0], CRASH[1] - CRASH[0] - 0x1000)
        assert refused(host, CRASH[0], [segment], KEXEC_ON_CRASH).name == "ENOMEM"
        assert printed(host) == ["kexec: Could not allocate control_code_buffer"]


class TestWithoutKexecJump:
    def test_every_use_of_the_flag(self, host: Host) -> None:
        """b.nojump (defect 20): unloading too; ordinary kexec is not concerned."""
        host.kimages.state.set("config_kexec_jump", 0)
        for segments in (one(), []):
            assert "without CONFIG_KEXEC_JUMP" in refused(host, A, segments, MK).reason
        assert refused(host, A, one(), KEXEC_PRESERVE_CONTEXT).name == "EINVAL"
        load(host, flags=0)
        host.kexec_load(0, [], 0)


class TestCrashAndMultikernel:
    """Defect 24."""

    def test_the_host_dies(self, host: Host) -> None:
        """b.crashmk: the segment is copied; then there is no control page to leave writable. A child lives on."""
        crashkernel(host)
        host.cpu_down(2)
        load(host, A, count(A))
        host.multikernel_kexec(2)
        host.machine.run(30_000)
        with pytest.raises(MklabError, match=r"oopsed write-protecting the crashkernel region.*defect 24.*panicked"):
            host.kexec_load(CRASH[0], one(CRASH[0], b"\xc3" * 16), MK | KEXEC_ON_CRASH)
        assert host.machine.memory.read(CRASH[0], 16) == b"\xc3" * 16
        assert printed(host)[-3:] == [
            "CPA: called for zero pte",
            "Kernel panic - not syncing: Fatal exception",
            "---[ end Kernel panic - not syncing: Fatal exception ]---",
        ]
        assert [host.cpu_online(cpu) for cpu in range(4)] == [False] * 4
        with pytest.raises(ValueError, match="via must be a CPU that is online in the host"):
            load(host)
        before = count_at(host, A)
        host.machine.run(30_000)
        assert count_at(host, A) > before
        assert host.machine.cpus[2].owner == "kernel 1"

    def test_its_segments_may_lie_anywhere(self, host: Host) -> None:
        """v1 sets its own type last, so the crash image's check of the segments is passed over."""
        crashkernel(host)
        with pytest.raises(MklabError, match="defect 24"):
            host.kexec_load(CRASH[0], one(A), MK | KEXEC_ON_CRASH)
        assert host.machine.memory.read(A, len(HALT)) == HALT


@pytest.mark.parametrize("flags", [MK, 0])
def test_a_snapshot_between_any_two_steps(host: Host, flags: int) -> None:
    """Put through JSON into another machine, the call goes on there and ends with the same trace."""
    start = json.dumps(state.state(host.machine))

    def resume(data: str) -> Host:
        machine = Machine(4)
        other = Host(machine)
        state.restore(machine, json.loads(data))
        return other

    def begin() -> Host:
        other = resume(start)
        other._begin_load(A, [KexecSegment(HALT, A, 70 * 4096), KexecSegment(b"x", B, 4096)], flags, {}, True, 0)
        return other

    whole = begin()
    steps = 0
    while whole.machine.calls:
        whole.machine.step()
        steps += 1
    assert steps > 5
    for cut in range(1, steps):
        first = begin()
        for _ in range(cut):
            first.machine.step()
        second = resume(json.dumps(state.state(first.machine)))
        while second.machine.calls:
            second.machine.step()
        assert second.machine.trace.sha256 == whole.machine.trace.sha256
        assert len(second.machine.trace.of(Printk)) <= len(whole.machine.trace.of(Printk))
        sound(second)
