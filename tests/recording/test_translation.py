"""Page walks in a recording: tables laid out by hand, from the SDM's figures of each paging mode."""

from mklab.recording import Film, Frame, Level, Translation

PG, PE, PSE, PAE, LMA, NXE = 1 << 31, 1, 1 << 4, 1 << 5, 1 << 10, 1 << 11
XD = 1 << 63
LONG = {"cr0": PG | PE, "cr3": 0x1000, "cr4": PAE, "efer": LMA | NXE}


def frame(registers: dict[str, int], *entries: tuple[int, int], width: int = 8, most_bytes: int = 1 << 20) -> Frame:
    film = Film([0], [(0, 0x10000)], most_bytes=most_bytes)
    stores = [(address, entry.to_bytes(width, "little")) for address, entry in entries]
    film.look(registers={0: registers}, writes=stores)
    return film.frame(-1)


def four_levels(last: int) -> Frame:
    """The linear address 0xFFFF_8080_4060_5XXX: entries 257, 1, 3 and 5 of the four tables."""
    tables = (0x1000 + 257 * 8, 0x2000 | 7), (0x2000 + 8, 0x3000 | 0x23), (0x3000 + 3 * 8, 0x4000 | 3)
    return frame(LONG, *tables, (0x4000 + 5 * 8, last))


LINEAR = 0xFFFF_8080_4060_5678


def test_four_levels() -> None:
    assert four_levels(0x9000 | XD | 0x163).walk(0, LINEAR) == Translation(
        linear=LINEAR,
        levels=(
            Level("PML4", 0x1000, 257, 0x1808, 0x2007, ("P", "R/W", "U/S"), 0x2000),
            Level("PDPT", 0x2000, 1, 0x2008, 0x3023, ("P", "R/W", "A"), 0x3000),
            Level("PD", 0x3000, 3, 0x3018, 0x4003, ("P", "R/W"), 0x4000),
            Level("PT", 0x4000, 5, 0x4028, 0x9163 | XD, ("P", "R/W", "A", "D", "G", "XD"), 0x9000),
        ),
        paddr=0x9678,
        page=4096,
        writable=True,
        user=False,
        executable=False,
    )


def test_an_entry_that_is_not_present_ends_the_way() -> None:
    way = four_levels(0x9000).walk(0, LINEAR)
    assert (way.paddr, way.page, way.fault) == (None, 0, "page fault: the PT entry is not present")
    assert way.levels[-1] == Level("PT", 0x4000, 5, 0x4028, 0x9000, (), None)
    assert [level.next for level in way.levels] == [0x2000, 0x3000, 0x4000, None]


def test_a_reserved_bit_ends_the_way() -> None:
    way = four_levels(1 << 45 | 0x9003).walk(0, LINEAR)
    assert way.fault == "page fault: the PT entry has a reserved bit set"
    assert way.levels[-1].flags == ("P", "R/W")


def test_a_table_beyond_memory() -> None:
    way = frame(LONG, (0x1000, 0x80000003)).walk(0, 0)
    assert way.fault == "no memory at 0x80000000, where the PDPT entry would be, or it is not recorded"
    assert way.levels[-1] == Level("PDPT", 0x80000000, 0, 0x80000000, None, (), None)
    assert way.levels[0].next == 0x80000000


def test_a_table_that_is_not_recorded() -> None:
    way = frame(LONG, (0x1000, 0x2003), (0x2000, 0x3003), most_bytes=3).walk(0, 0)
    assert way.fault.startswith("no memory at 0x2000, where the PDPT entry would be")


def test_a_large_page_of_two_mebibytes() -> None:
    way = frame(LONG, (0x1000, 0x2003), (0x2000, 0x3003), (0x3008, 0x200000 | 0x1083)).walk(0, 0x345678)
    assert (way.paddr, way.page) == (0x345678, 2 << 20)
    assert way.levels[-1] == Level("PD", 0x3000, 1, 0x3008, 0x201083, ("P", "R/W", "PS", "PAT"), 0x200000)


def test_pae() -> None:
    """Four entries in the table that CR3 points to, which need not begin a page; they have no R/W flag."""
    registers = {**LONG, "cr3": 0x1020, "efer": 0}
    tables = (0x1020 + 3 * 8, 0x2009), (0x2000 + 511 * 8, 0x3001), (0x3000 + 511 * 8, 0x7081)
    way = frame(registers, *tables).walk(0, 0xFFFFF00F)
    assert way.paddr == 0x700F
    assert not way.writable
    assert way.levels == (
        Level("PDPT", 0x1020, 3, 0x1038, 0x2009, ("P", "PWT"), 0x2000),
        Level("PD", 0x2000, 511, 0x2FF8, 0x3001, ("P",), 0x3000),
        Level("PT", 0x3000, 511, 0x3FF8, 0x7081, ("P", "PAT"), 0x7000),
    )


def test_thirty_two_bits() -> None:
    registers = {"cr0": PG | PE, "cr3": 0x1018, "cr4": PSE, "efer": 0}
    read = frame(registers, (0x1000 + 4, 0x2007), (0x2000 + 2 * 4, 0x5007), (0x1000 + 8, 0x00802083), width=4)
    small, large = read.walk(0, 0x402ABC), read.walk(0, 0x812345)
    assert (small.paddr, small.page, small.user) == (0x5ABC, 4096, True)
    assert small.levels[1] == Level("PT", 0x2000, 2, 0x2008, 0x5007, ("P", "R/W", "U/S"), 0x5000)
    assert (large.paddr, large.page) == (0x1_0081_2345, 4 << 20)
    assert [level.index for level in large.levels] == [2]


def test_without_paging() -> None:
    way = frame({**LONG, "cr0": PE, "efer": 0}).walk(0, 0x1234)
    assert (way.paddr, way.levels, way.page, way.fault) == (0x1234, (), 0, "")
    assert way.writable
    assert way.executable


def test_an_address_that_is_not_canonical() -> None:
    way = four_levels(0x9003).walk(0, 0x0000_8080_4060_5678)
    assert (way.paddr, way.levels) == (None, ())
    assert way.fault == "general protection: the address is not canonical"
