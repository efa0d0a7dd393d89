"""``arch/x86/include/uapi/asm/bootparam.h``: the setup header of a bzImage, and ``struct boot_params``.

The layouts are the boot protocol's (Documentation/arch/x86/boot.rst and zero-page.rst). They are packed and nested, and
lie in files and buffers rather than in guest RAM, so they are ctypes structures: a field is an attribute.
"""

import ctypes
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64

__all__ = [
    "BOOT_FLAG",
    "E820_MAX_ENTRIES_ZEROPAGE",
    "E820_TYPE_RAM",
    "E820_TYPE_RESERVED",
    "HDRS",
    "HDR_OFFSET",
    "KASLR_FLAG",
    "LOADED_HIGH",
    "LOADFLAGS",
    "XLF_CAN_BE_LOADED_ABOVE_4G",
    "XLF_KERNEL_64",
    "XLOADFLAGS",
    "BootE820Entry",
    "BootParams",
    "E820Range",
    "ScreenInfo",
    "SetupHeader",
]

HDR_OFFSET = 0x1F1  # of the setup header, both in the file and in struct boot_params
BOOT_FLAG = 0xAA55
HDRS = int.from_bytes(b"HdrS", "little")

LOADED_HIGH = 1 << 0
KASLR_FLAG = 1 << 1
LOADFLAGS = {
    LOADED_HIGH: "LOADED_HIGH",
    KASLR_FLAG: "KASLR_FLAG",
    1 << 5: "QUIET_FLAG",
    1 << 6: "KEEP_SEGMENTS",
    1 << 7: "CAN_USE_HEAP",
}

XLF_KERNEL_64 = 1 << 0
XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1
XLOADFLAGS = {
    XLF_KERNEL_64: "XLF_KERNEL_64",
    XLF_CAN_BE_LOADED_ABOVE_4G: "XLF_CAN_BE_LOADED_ABOVE_4G",
    1 << 2: "XLF_EFI_HANDOVER_32",
    1 << 3: "XLF_EFI_HANDOVER_64",
    1 << 4: "XLF_EFI_KEXEC",
    1 << 5: "XLF_5LEVEL",
    1 << 6: "XLF_5LEVEL_ENABLED",
}

E820_TYPE_RAM, E820_TYPE_RESERVED = 1, 2
E820_MAX_ENTRIES_ZEROPAGE = 128

E820Range = tuple[int, int, int]
"""A range of the memory map: first byte, first byte after it, and type (``E820_TYPE_RAM``, ...)."""


class SetupHeader(ctypes.LittleEndianStructure):
    """``struct setup_header``, the fields as the boot protocol 2.15 has them."""

    _pack_ = 1
    _fields_ = (
        ("setup_sects", c_uint8),
        ("root_flags", c_uint16),
        ("syssize", c_uint32),
        ("ram_size", c_uint16),
        ("vid_mode", c_uint16),
        ("root_dev", c_uint16),
        ("boot_flag", c_uint16),
        ("jump", c_uint16),
        ("header", c_uint32),
        ("version", c_uint16),
        ("realmode_swtch", c_uint32),
        ("start_sys_seg", c_uint16),
        ("kernel_version", c_uint16),
        ("type_of_loader", c_uint8),
        ("loadflags", c_uint8),
        ("setup_move_size", c_uint16),
        ("code32_start", c_uint32),
        ("ramdisk_image", c_uint32),
        ("ramdisk_size", c_uint32),
        ("bootsect_kludge", c_uint32),
        ("heap_end_ptr", c_uint16),
        ("ext_loader_ver", c_uint8),
        ("ext_loader_type", c_uint8),
        ("cmd_line_ptr", c_uint32),
        ("initrd_addr_max", c_uint32),
        ("kernel_alignment", c_uint32),
        ("relocatable_kernel", c_uint8),
        ("min_alignment", c_uint8),
        ("xloadflags", c_uint16),
        ("cmdline_size", c_uint32),
        ("hardware_subarch", c_uint32),
        ("hardware_subarch_data", c_uint64),
        ("payload_offset", c_uint32),
        ("payload_length", c_uint32),
        ("setup_data", c_uint64),
        ("pref_address", c_uint64),
        ("init_size", c_uint32),
        ("handover_offset", c_uint32),
        ("kernel_info_offset", c_uint32),
    )


class ScreenInfo(ctypes.LittleEndianStructure):
    """``struct screen_info``, as far as kexec fills it: the old count of memory above 1 MiB."""

    _pack_ = 1
    _fields_ = (
        ("orig_x", c_uint8),
        ("orig_y", c_uint8),
        ("ext_mem_k", c_uint16),
        ("_rest", c_uint8 * 60),
    )


class BootE820Entry(ctypes.LittleEndianStructure):
    """``struct boot_e820_entry``: one range of the memory map."""

    _pack_ = 1
    _fields_ = (("addr", c_uint64), ("size", c_uint64), ("type", c_uint32))


class BootParams(ctypes.LittleEndianStructure):
    """``struct boot_params``: one page, which a boot loader fills and hands to the kernel in RSI."""

    _pack_ = 1
    _fields_ = (
        ("screen_info", ScreenInfo),
        ("apm_bios_info", c_uint8 * 20),
        ("_pad2", c_uint8 * 4),
        ("tboot_addr", c_uint64),
        ("ist_info", c_uint8 * 16),
        ("acpi_rsdp_addr", c_uint64),
        ("_pad3", c_uint8 * 8),
        ("hd0_info", c_uint8 * 16),
        ("hd1_info", c_uint8 * 16),
        ("sys_desc_table", c_uint8 * 16),
        ("olpc_ofw_header", c_uint8 * 16),
        ("ext_ramdisk_image", c_uint32),
        ("ext_ramdisk_size", c_uint32),
        ("ext_cmd_line_ptr", c_uint32),
        ("_pad4", c_uint8 * 112),
        ("cc_blob_address", c_uint32),
        ("edid_info", c_uint8 * 128),
        ("efi_info", c_uint8 * 32),
        ("alt_mem_k", c_uint32),
        ("scratch", c_uint32),
        ("e820_entries", c_uint8),
        ("eddbuf_entries", c_uint8),
        ("edd_mbr_sig_buf_entries", c_uint8),
        ("kbd_status", c_uint8),
        ("secure_boot", c_uint8),
        ("_pad5", c_uint8 * 2),
        ("sentinel", c_uint8),
        ("_pad6", c_uint8),
        ("hdr", SetupHeader),
        ("_pad7", c_uint8 * (0x290 - HDR_OFFSET - ctypes.sizeof(SetupHeader))),
        ("edd_mbr_sig_buffer", c_uint32 * 16),
        ("e820_table", BootE820Entry * E820_MAX_ENTRIES_ZEROPAGE),
        ("_pad8", c_uint8 * 48),
        ("eddbuf", c_uint8 * 492),
        ("_pad9", c_uint8 * 276),
    )
