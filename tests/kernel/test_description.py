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
from mklab.recording import Description, Film, Frame, SourceLine
from mklab.timeline.record import record


@pytest.fixture(scope="module")
def film() -> Film:
    machine = Machine(2)
    recorder = record(machine)
    Host(machine).boot()
    # The description came with the host, after the recording had begun.
    return Film.from_bytes(recorder.stop().to_bytes())


@pytest.fixture(scope="module")
def frame(film: Film) -> Frame:
    return film.frame(film.count - 1)


def test_places_are_as_large_as_the_images_symbols() -> None:
    table = ELFFile(io.BytesIO(minikernel())).get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    sizes = {symbol.name: symbol["st_size"] for symbol in table.iter_symbols()}
    addresses = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    # Assembly says no sizes; what comes behind the stacks begins where they end.
    sizes["_text"] = addresses["_etext"]
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


def shown(film: Film) -> dict[str, list[SourceLine | None]]:
    """Every instruction that some look shows, as text, and its source lines."""
    found: dict[str, list[SourceLine | None]] = {}
    for look in film.looks:
        frame = film.frame_of(look.number)
        for cpu in range(2):
            for line, source in zip(frame.code(cpu), frame.source(cpu), strict=True):
                found.setdefault(line.text, []).append(source)
    return found


def test_instructions_stand_beside_their_source_lines() -> None:
    """In 16- and 32-bit code: what was written by hand is in the same words on both sides."""
    machine = Machine(2)
    recorder = record(machine)
    host = Host(machine)
    host.boot(secondary=False)
    recorder.every = "event"  # changes of the mode among them
    host.cpu_up(1)
    film = recorder.stop()
    found = shown(Film.from_bytes(film.to_bytes()))
    for text in ("wbinvd", "movw %cs, %ax", "movw %ax, %ss", "movl %eax, (%edi)", "decl %ecx", "movl %eax, %cr3"):
        lines = {one for one in found[text] if one is not None}
        assert any(text.split() == line.text.partition("/*")[0].split() for line in lines), (text, lines)
    texts = {file: text.splitlines() for one in film.description.sources for file, text in one.texts.items()}
    known = [one for lines in found.values() for one in lines if one is not None]
    assert {one.file for one in known} >= {"trampoline_64_bsp.S", "minikernel/entry.S", "minikernel/main.c"}
    assert all(texts[one.file][one.number - 1] == one.text for one in known)
    assert len(known) > 0.9 * sum(len(lines) for lines in found.values())


def test_what_was_changed_has_no_source_line() -> None:
    machine = Machine(2)
    host = Host(machine)
    recorder = record(machine)
    host.boot()
    cpu = machine.registers(0)
    before = recorder.film.frame(recorder.film.count - 1)
    (wanted, *_) = (line for line in before.source(0) if line is not None)
    paddr = before.walk(0, cpu.linear_rip).paddr
    assert paddr is not None
    machine.poke(paddr, b"\x0f\x0b")
    after = recorder.stop()
    frame = after.frame(after.count - 1)
    assert frame.code(0)[0].text == "ud2"
    assert frame.source(0)[0] is None
    assert wanted.file == "minikernel/main.c"
