"""What is said of the kernels' memory is so: sizes are the image's own, places are where they are used."""

import io

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.guest import minikernel, trampoline
from mklab.kernel.description import description
from mklab.kernel.host import Host
from mklab.kernel.layout import BOOT_PARAMS, HOST_DATA, TRAMPOLINE_BASE
from mklab.machine.machine import Machine
from mklab.recording import Description, Frame
from mklab.timeline.record import record


@pytest.fixture(scope="module")
def frame() -> Frame:
    machine = Machine(2)
    recorder = record(machine)
    Host(machine).boot()
    # The description came with the host, after the recording had begun.
    film = recorder.stop()
    return film.frame(film.count - 1)


def test_places_are_as_large_as_the_images_symbols() -> None:
    table = ELFFile(io.BytesIO(minikernel())).get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    sizes = {symbol.name: symbol["st_size"] for symbol in table.iter_symbols()}
    addresses = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    # Assembly says no sizes; what comes behind the stacks begins where they end.
    sizes["stacks"] = addresses["irq_stat"] - addresses["stacks"]
    made = description()
    checked = 0
    for place in made.places:
        if place.symbol and not place.pointer:
            assert made.size(place) == sizes[place.symbol], place.name
            checked += 1
    assert checked > 8


def test_it_survives_json() -> None:
    made = description()
    again = Description.from_dict(made.to_dict())
    assert again.to_dict() == made.to_dict()
    assert [made.size(place) for place in made.places] == [again.size(place) for place in again.places]
    with pytest.raises(ValueError, match=r"name must be one of \['kimage', .*\], not 'task_struct'"):
        made.struct("task_struct")


def test_the_host_s_places(frame: Frame) -> None:
    base = frame.find("trampoline")
    assert (base.kernel, base.address) == ("host", TRAMPOLINE_BASE)
    assert frame.read(base.address, 0x43) == trampoline().data[:0x43]
    assert frame.find("kexec_image_list").address == HOST_DATA
    assert frame.fields(frame.find("mk_boot_info"))["nr_cpu_ids"] == 2
    assert frame.fields(frame.find("boot_params_phys_addr"))["value"] == BOOT_PARAMS
    online = frame.find("cpu_online")
    assert frame.read(online.address, 3) == b"\1\1\0"
