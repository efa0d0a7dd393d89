import contextlib
import errno
import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.errors import ImageError, KexecError, MklabError
from mklab.kernel import kexec_bzimage64
from mklab.kernel.bootparam import BootParams, SetupHeader
from mklab.kernel.kexec import KexecSegment, LoadedImage

MIB = 1 << 20
RAM = [(0, 0x9F000, 1), (0x9F000, 0xA0000, 2), (MIB, 256 * MIB, 1)]

# Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header": offset, size, name.
BOOT_RST = """
01F1/1 setup_sects       01F2/2 root_flags          01F4/4 syssize           01F8/2 ram_size
01FA/2 vid_mode          01FC/2 root_dev            01FE/2 boot_flag         0200/2 jump
0202/4 header            0206/2 version             0208/4 realmode_swtch    020C/2 start_sys_seg
020E/2 kernel_version    0210/1 type_of_loader      0211/1 loadflags         0212/2 setup_move_size
0214/4 code32_start      0218/4 ramdisk_image       021C/4 ramdisk_size      0220/4 bootsect_kludge
0224/2 heap_end_ptr      0226/1 ext_loader_ver      0227/1 ext_loader_type   0228/4 cmd_line_ptr
022C/4 initrd_addr_max   0230/4 kernel_alignment    0234/1 relocatable_kernel 0235/1 min_alignment
0236/2 xloadflags        0238/4 cmdline_size        023C/4 hardware_subarch  0240/8 hardware_subarch_data
0248/4 payload_offset    024C/4 payload_length      0250/8 setup_data        0258/8 pref_address
0260/4 init_size         0264/4 handover_offset     0268/4 kernel_info_offset
"""
# Documentation/arch/x86/zero-page.rst: offset, size, name.
ZERO_PAGE_RST = """
000/040 screen_info      040/014 apm_bios_info      058/008 tboot_addr       060/010 ist_info
070/008 acpi_rsdp_addr   080/010 hd0_info           090/010 hd1_info         0A0/010 sys_desc_table
0B0/010 olpc_ofw_header  0C0/004 ext_ramdisk_image  0C4/004 ext_ramdisk_size 0C8/004 ext_cmd_line_ptr
13C/004 cc_blob_address  140/080 edid_info          1C0/020 efi_info         1E0/004 alt_mem_k
1E4/004 scratch          1E8/001 e820_entries       1E9/001 eddbuf_entries   1EA/001 edd_mbr_sig_buf_entries
1EB/001 kbd_status       1EC/001 secure_boot        1EF/001 sentinel         290/040 edd_mbr_sig_buffer
2D0/A00 e820_table       D00/1EC eddbuf
"""


def table(text: str) -> list[tuple[int, int, str]]:
    cells = text.split()
    numbers = [cell.split("/") for cell in cells[::2]]
    return [(int(o, 16), int(s, 16), name) for (o, s), name in zip(numbers, cells[1::2], strict=True)]


def at(image: bytes | bytearray, offset: int, size: int) -> int:
    return int.from_bytes(image[offset : offset + size], "little")


def by_name(image: LoadedImage) -> dict[str, KexecSegment]:
    return {segment.name: segment for segment in image.segments}


def test_setup_header_lies_as_the_boot_protocol_says() -> None:
    assert [
        (0x1F1 + getattr(SetupHeader, name).offset, getattr(SetupHeader, name).size, name)
        for name, _ in SetupHeader._fields_
    ] == table(BOOT_RST)


def test_boot_params_lies_as_the_zero_page_says() -> None:
    fields = [(getattr(BootParams, name), name) for name, *_ in BootParams._fields_]
    named = [(field.offset, field.size, name) for field, name in fields if not name.startswith("_") and name != "hdr"]
    assert named == table(ZERO_PAGE_RST)
    assert BootParams.hdr.offset == 0x1F1
    assert len(bytes(BootParams())) == 4096


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": b"HdrT"}, "Not a bzImage"),
        ({"boot_flag": 0xAA54}, "No x86 boot sector present: 0xaa54"),
        ({"version": 0x020B}, "Must be at least protocol version 2.12, is 2.11"),
        ({"loadflags": 0}, "zImage not a bzImage"),
        ({"xloadflags": 0x7E}, "XLF_KERNEL_64 is not set"),
        ({"xloadflags": 0x7D}, "XLF_CAN_BE_LOADED_ABOVE_4G is not set"),
    ],
)
def test_each_check_of_the_probe(changes: dict[str, int], reason: str, make_bzimage: Callable[..., bytes]) -> None:
    with pytest.raises(KexecError, match=reason) as refusal:
        kexec_bzimage64.load(make_bzimage(**changes), ram=RAM)
    assert (refusal.value.errno, refusal.value.function) == (errno.ENOEXEC, "bzImage64_probe")


def test_the_probe_checks_in_linuxs_order(make_bzimage: Callable[..., bytes]) -> None:
    image = make_bzimage(header=b"HdrT", boot_flag=0, version=0x0200, loadflags=0, xloadflags=0)
    assert [error.reason[:12] for error in kexec_bzimage64.refusals(image)] == [
        "Not a bzImag",
        "No x86 boot ",
        "Must be at l",
        "zImage not a",
        "Not a bzImag",
        "XLF_CAN_BE_L",
    ]
    with pytest.raises(KexecError, match='Not a bzImage: 0x54726448 at offset 0x202, "HdrS" is 0x53726448'):
        kexec_bzimage64.load(image, ram=RAM)


def test_a_file_of_less_than_two_sectors(make_bzimage: Callable[..., bytes]) -> None:
    with pytest.raises(KexecError, match="File is too short to be a bzImage: 1023 bytes") as refusal:
        kexec_bzimage64.load(make_bzimage()[:1023], ram=RAM)
    assert refusal.value.errno == errno.ENOEXEC


def test_segments_are_placed_from_the_top(make_bzimage: Callable[..., bytes]) -> None:
    image = make_bzimage()
    loaded = kexec_bzimage64.load(image, ram=RAM, cmdline="quiet", initrd=b"disk" * 2000)
    assert [(s.name, s.mem, s.memsz) for s in loaded.segments] == [
        ("boot_params", 256 * MIB - 0x2000, 0x2000),
        ("kernel", 254 * MIB, 0x13000),
        ("initrd", 256 * MIB - 0x4000, 0x2000),
    ]
    assert by_name(loaded)["kernel"].buf == image[1024:]
    assert by_name(loaded)["initrd"].buf == b"disk" * 2000
    assert loaded.entry == 254 * MIB + 0x200
    assert loaded.boot_params == 256 * MIB - 0x2000
    assert loaded.symbols == {}
    assert loaded.format == "bzImage64"


def test_setup_sects_0_means_4(make_bzimage: Callable[..., bytes]) -> None:
    image = make_bzimage(setup_sects=0, syssize=0)
    loaded = kexec_bzimage64.load(image, ram=RAM)
    assert by_name(loaded)["kernel"].buf == image[5 * 512 :]


@pytest.mark.parametrize(("pref_address", "lowest"), [(0x80000, 2 * MIB), (0x1000000, 16 * MIB), (0x1234567, 20 * MIB)])
def test_the_kernel_never_lies_below_its_lowest_address(
    pref_address: int, lowest: int, make_bzimage: Callable[..., bytes]
) -> None:
    image = make_bzimage(pref_address=pref_address)
    enough = lowest + 0x13000 + 0x2000  # the kernel, and boot_params above it
    fits = kexec_bzimage64.load(image, ram=[(MIB, enough, 1)])
    assert by_name(fits)["kernel"].mem == lowest
    with pytest.raises(KexecError, match="no free RAM for the kernel") as refusal:
        kexec_bzimage64.load(image, ram=[(MIB, enough - 0x1000, 1)])
    assert refusal.value.errno == errno.EADDRNOTAVAIL


def test_the_kernel_never_lies_below_1_mib(make_bzimage: Callable[..., bytes]) -> None:
    image = make_bzimage(pref_address=0, kernel_alignment=0x1000)
    assert by_name(kexec_bzimage64.load(image, ram=[(0, 2 * MIB, 1)], base=MIB))["kernel"].mem == MIB
    with pytest.raises(KexecError, match=r"no free RAM for the kernel: .* at or above 0x100000"):
        kexec_bzimage64.load(image, ram=[(0, 0x9F000, 1)])


def test_base_is_kept_free_for_the_kernel(make_bzimage: Callable[..., bytes]) -> None:
    ram = [(MIB, 32 * MIB + 0x13000, 1)]
    loaded = kexec_bzimage64.load(make_bzimage(), base=32 * MIB, ram=ram)
    assert [(s.name, s.mem) for s in loaded.segments] == [("boot_params", 32 * MIB - 0x2000), ("kernel", 32 * MIB)]
    assert loaded.entry == 32 * MIB + 0x200


@pytest.mark.parametrize("base", [33 * MIB, 17 * MIB + 1])
def test_base_must_be_aligned(base: int, make_bzimage: Callable[..., bytes]) -> None:
    with pytest.raises(ValueError, match=f"base must be a multiple of .* 0x200000, not {base:#x}$"):
        kexec_bzimage64.load(make_bzimage(), base=base, ram=RAM)


@pytest.mark.parametrize("base", [14 * MIB, 256 * MIB])
def test_base_without_room(base: int, make_bzimage: Callable[..., bytes]) -> None:
    with pytest.raises(KexecError, match="no free RAM for the kernel") as refusal:
        kexec_bzimage64.load(make_bzimage(), base=base, ram=RAM)
    assert refusal.value.errno == errno.EADDRNOTAVAIL


def test_every_segment_stays_in_the_window(make_bzimage: Callable[..., bytes]) -> None:
    low, high = 64 * MIB, 96 * MIB
    loaded = kexec_bzimage64.load(make_bzimage(), ram=RAM, window=(low, high), initrd=bytes(5 * MIB))
    assert len(loaded.segments) == 3
    assert all(low <= s.mem and s.mem + s.memsz <= high for s in loaded.segments)
    with pytest.raises(KexecError, match=r"no free RAM for the initrd: .* within 0x4000000-0x6000000"):
        kexec_bzimage64.load(make_bzimage(), ram=RAM, window=(low, high), initrd=bytes(32 * MIB))


def test_boot_params_are_filled_as_linux_does(make_bzimage: Callable[..., bytes]) -> None:
    image = make_bzimage(loadflags=0x83)
    ram = [*RAM, (4096 * MIB, 8192 * MIB, 1)]
    loaded = kexec_bzimage64.load(image, ram=ram, cmdline="console=ttyS0 maxcpus=1", initrd=b"disk" * 2000)
    params = by_name(loaded)["boot_params"]
    page = params.buf
    header_end = 0x202 + 0x6A  # by the jump at 0x200
    written = {0x210: 1, 0x211: 1, 0x218: 4, 0x21C: 4, 0x228: 4}
    for offset in range(0x1F1, header_end):
        if not any(first <= offset < first + size for first, size in written.items()):
            assert page[offset] == image[offset], hex(offset)
    assert not any(page[header_end:0x290])
    assert at(page, 0x210, 1) == 0xD0
    assert at(page, 0x211, 1) == 0
    cmdline = params.mem + 4096
    assert cmdline > 1 << 32
    assert (at(page, 0x228, 4), at(page, 0x0C8, 4)) == (cmdline & 0xFFFFFFFF, cmdline >> 32)
    assert page[4096:].startswith(b"console=ttyS0 maxcpus=1\0")
    initrd = by_name(loaded)["initrd"].mem
    assert (at(page, 0x218, 4), at(page, 0x0C0, 4)) == (initrd & 0xFFFFFFFF, initrd >> 32)
    assert (at(page, 0x21C, 4), at(page, 0x0C4, 4)) == (8000, 0)
    assert at(page, 0x1E8, 1) == len(ram)
    for index, (start, end, kind) in enumerate(ram):
        assert struct.unpack_from("<QQI", page, 0x2D0 + 20 * index) == (start, end - start, kind)
    assert at(page, 0x1EF, 1) == 0  # the sentinel: 0xff in the file, and not to be copied
    assert at(page, 0x002, 2) == 0xFC00  # the old counts: KiB above 1 MiB, up to the end of the range there
    assert at(page, 0x1E0, 4) == 255 * 1024 - 1


def test_linux_hands_on_128_ranges(make_bzimage: Callable[..., bytes]) -> None:
    ram = [*RAM, *((512 * MIB + n * 0x2000, 512 * MIB + n * 0x2000 + 0x1000, 2) for n in range(200))]
    page = by_name(kexec_bzimage64.load(make_bzimage(), ram=ram))["boot_params"].buf
    assert at(page, 0x1E8, 1) == 128
    assert struct.unpack_from("<QQI", page, 0x2D0 + 20 * 127) == (512 * MIB + 124 * 0x2000, 0x1000, 2)
    assert not any(page[0xCD0:0xD00])


def test_the_longest_command_line(make_bzimage: Callable[..., bytes]) -> None:
    longest = 2047 - 30 - 1
    loaded = kexec_bzimage64.load(make_bzimage(), ram=RAM, cmdline="x" * longest)
    assert by_name(loaded)["boot_params"].buf[4096:].rstrip(b"\0") == b"x" * longest
    with pytest.raises(KexecError, match="Kernel command line too long: 2018 bytes") as refusal:
        kexec_bzimage64.load(make_bzimage(), ram=RAM, cmdline="x" * (longest + 1))
    assert (refusal.value.errno, refusal.value.function) == (errno.EINVAL, "bzImage64_load")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cmdline": "a\0b"}, "cmdline must be without NUL, not 'a\\\\x00b'$"),
        ({"window": (5, 5)}, r"window must be .*, not \(5, 5\)$"),
        ({"ram": [(9, 3, 1)]}, r"ram must hold .*, not \(9, 3, 1\)$"),
    ],
)
def test_misuse(arguments: dict[str, object], message: str, make_bzimage: Callable[..., bytes]) -> None:
    with pytest.raises(ValueError, match=message):
        kexec_bzimage64.load(make_bzimage(), **({"ram": RAM} | arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        (
            {"setup_sects": 200},
            KexecError,
            "bzImage64_load: -ENOEXEC: bzImage truncated: its setup code ends at 0x19200",
        ),
        ({"syssize": 0x301}, ImageError, "truncated bzImage: .* ends at 0x3410, the file at 0x3400"),
        ({"jump": 0x80EB}, ImageError, "0x80 is negative"),
        ({"kernel_alignment": 0x300000}, ImageError, "kernel_alignment at 0x230 is 0x300000, no power of two"),
    ],
)
def test_a_header_that_contradicts_itself(
    changes: dict[str, int], error: type[MklabError], reason: str, make_bzimage: Callable[..., bytes]
) -> None:
    with pytest.raises(error, match=reason):
        kexec_bzimage64.load(make_bzimage(**changes), ram=RAM)


@settings(deadline=None)
@given(data=st.data())
def test_no_byte_of_the_header_can_raise_anything_else(make_bzimage: Callable[..., bytes], data: st.DataObject) -> None:
    image = bytearray(make_bzimage())
    for offset in data.draw(st.lists(st.integers(0x1F1, 0x290), max_size=4)):
        image[offset] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(image)))
    with contextlib.suppress(MklabError):
        kexec_bzimage64.load(bytes(image[:cut]), ram=RAM)
        assert cut == len(image) or at(image, 0x1F4, 4) * 16 < 0x3000


def test_a_debian_kernel_lands_byte_for_byte(debian_kernel: Path) -> None:
    file = debian_kernel.read_bytes()
    initrd = b"0707" * 100_000
    loaded = kexec_bzimage64.load(file, ram=RAM, cmdline="console=ttyS0", initrd=initrd)
    segments = by_name(loaded)
    kernel = segments["kernel"]
    assert kernel.buf == file[(at(file, 0x1F1, 1) + 1) * 512 :]
    assert kernel.memsz == -(-at(file, 0x260, 4) // 4096) * 4096
    assert kernel.mem % at(file, 0x230, 4) == 0
    assert kernel.mem >= at(file, 0x258, 8)
    assert loaded.entry == kernel.mem + 0x200
    assert segments["initrd"].buf == initrd
    assert loaded.boot_params == segments["boot_params"].mem
    places = sorted((s.mem, s.mem + s.memsz) for s in loaded.segments)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(places))
    assert all(mem >= MIB and end <= 256 * MIB for mem, end in places)


def test_half_a_debian_kernel_is_not_loaded(debian_kernel: Path) -> None:
    file = debian_kernel.read_bytes()
    with pytest.raises(ImageError, match="truncated bzImage"):
        kexec_bzimage64.load(file[: len(file) // 2], ram=RAM)
