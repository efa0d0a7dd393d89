"""A real Debian kernel through kexec_load: what lies in RAM afterwards is what the file holds."""

from pathlib import Path

import pytest

from mklab.errors import KexecError
from mklab.kernel import kexec_bzimage64
from mklab.kernel.bootparam import E820_TYPE_RAM
from mklab.kernel.host import Host
from mklab.kernel.layout import HOST_END
from mklab.machine.machine import Machine

RAM = 128 << 20


def test_its_segments_lie_in_ram_byte_for_byte(debian_kernel: Path) -> None:
    file = debian_kernel.read_bytes()
    machine = Machine(2, ram=RAM)
    host = Host(machine)
    host.boot()
    image = kexec_bzimage64.load(file, ram=[(0, RAM, E820_TYPE_RAM)], cmdline="console=ttyS0", window=(HOST_END, RAM))
    host.load(image)

    # Documentation/arch/x86/boot.rst: the protected-mode code begins behind the setup sectors.
    code = file[(file[0x1F1] + 1) * 512 :]
    kernel = next(segment for segment in image.segments if segment.mem + 0x200 == image.entry)
    assert machine.memory.read(kernel.mem, len(code)) == code
    assert machine.memory.read(kernel.mem + len(code), kernel.memsz - len(code)) == bytes(kernel.memsz - len(code))
    assert image.boot_params is not None
    assert machine.memory.read(image.boot_params + 0x1F1, 0x10) == file[0x1F1:0x201]
    assert machine.memory.read(image.boot_params + 0x202, 4) == b"HdrS"
    assert f"0x{image.entry:012x}         {len(image.segments)}\n" in host.proc_multikernel()
    assert machine.images["kernel 1"].contains(image.entry)


def test_half_of_ram_is_the_limit(debian_kernel: Path) -> None:
    """On 64 MiB the same kernel is refused: it takes more than half of the pages."""
    file = debian_kernel.read_bytes()
    host = Host(Machine(2))
    host.boot()
    before = host.proc_multikernel()
    small = kexec_bzimage64.load(file, base=HOST_END, ram=[(0, RAM, E820_TYPE_RAM)], window=(HOST_END, RAM))
    with pytest.raises(KexecError, match=r"-EINVAL: .* more than half of RAM"):
        host.load(small)
    assert host.proc_multikernel() == before
