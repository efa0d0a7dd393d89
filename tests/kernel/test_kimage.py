"""The list of kimages in guest RAM: v1's functions on it, and what a walk says of a list that was written over."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.kernel.kexec import KEXEC_TYPE_CRASH, KEXEC_TYPE_DEFAULT, KEXEC_TYPE_MULTIKERNEL
from mklab.kernel.kimage import HOST_STATE, KIMAGE, NO_CONTROL_PAGE, KimageList
from mklab.kernel.layout import FREE_PAGES, HOST_DATA, HOST_END, MEM_MAP
from mklab.kernel.list_head import ListCorruptionError
from mklab.machine.memory import PhysicalMemory
from mklab.structs import View


def empty_list() -> KimageList:
    kimages = KimageList(PhysicalMemory([(0, HOST_END)]))
    kimages.initialise()
    return kimages


def add(kimages: KimageList, kind: int = KEXEC_TYPE_MULTIKERNEL, start: int = 0) -> View:
    image = kimages.allocate()
    assert image is not None
    image.set("type", kind)
    image.set("start", start)
    kimages.add_to_list(image)
    return image


@pytest.fixture
def kimages() -> KimageList:
    return empty_list()


def nodes(kimages: KimageList) -> list[int]:
    """The list as a C program would walk it, by the raw bytes."""
    found, node = [], kimages.memory.read_u64(HOST_DATA)
    while node != HOST_DATA:
        found.append(node - KIMAGE.offsets["list_next"])
        node = kimages.memory.read_u64(node)
    return found


def attempt(kimages: KimageList) -> tuple[list[int], ListCorruptionError | None]:
    """What a walk has found until it ended, and what it complained of."""
    walked = []
    try:
        for image in kimages:
            walked.append(image.paddr)
    except ListCorruptionError as error:
        return walked, error
    return walked, None


class TestLayout:
    def test_struct_kimage(self) -> None:
        """The fields of include/linux/kexec.h in its order; segment[] holds 16 of 4 longs."""
        names = list(KIMAGE.offsets)
        assert names[:8] == [
            *("head", "entry", "last_entry", "start", "control_code_page", "swap_page", "nr_segments", "segment"),
        ]
        assert names[8:] == [
            *("control_pages", "dest_pages", "unusable_pages", "control_page"),
            *("type", "preserve_context", "file_mode", "id", "list_next", "list_prev"),
        ]
        assert KIMAGE.offsets["control_pages"] - KIMAGE.offsets["segment"] == 16 * 32

    def test_a_new_kimage(self, kimages: KimageList) -> None:
        """do_kimage_alloc_init."""
        image = kimages.allocate()
        assert image is not None
        assert image.get("entry") == image.get("last_entry") == image.address("head")
        assert image.get("head") == 0
        assert image.get("control_page") == NO_CONTROL_PAGE
        for name in ("control_pages", "dest_pages", "unusable_pages"):
            assert [image.get(name, 0), image.get(name, 1)] == [image.address(name)] * 2
        assert image.get("list_next") == image.get("list_prev") == image.address("list_next")

    def test_nothing_overlaps(self, kimages: KimageList) -> None:
        assert HOST_DATA + HOST_STATE.size <= kimages.state.get("allocated") < MEM_MAP < FREE_PAGES[0] < FREE_PAGES[1]

    def test_memory_for_kimages_ends(self, kimages: KimageList) -> None:
        count = 0
        while kimages.allocate() is not None:
            count += 1
        assert count > 1000
        assert kimages.state.get("allocated") <= MEM_MAP


class TestFunctions:
    def test_they_lie_in_the_order_of_loading(self, kimages: KimageList) -> None:
        images = [add(kimages) for _ in range(5)]
        assert nodes(kimages) == [image.paddr for image in images] == [image.paddr for image in kimages]
        backwards = [node - KIMAGE.offsets["list_next"] for node in kimages.list.backwards()]
        assert backwards == nodes(kimages)[::-1]

    def test_removing(self, kimages: KimageList) -> None:
        first, second, third = (add(kimages) for _ in range(3))
        kimages.remove_from_list(second)
        assert nodes(kimages) == [first.paddr, third.paddr]
        kimages.remove_from_list(second)  # list_del_init: once more does nothing
        assert nodes(kimages) == [first.paddr, third.paddr]
        kimages.remove_from_list(first)
        kimages.remove_from_list(third)
        assert nodes(kimages) == [] == list(kimages)

    def test_finding(self, kimages: KimageList) -> None:
        """Defect 22: of two with the same entry the older one; by type, the oldest; types apart."""
        default = add(kimages, KEXEC_TYPE_DEFAULT, 0x1000)
        first, second = add(kimages, start=0x1000), add(kimages, start=0x1000)
        third = add(kimages, start=0x2000)
        crash = add(kimages, KEXEC_TYPE_CRASH, 0x3000)

        def paddr(image: View | None) -> int | None:
            return image.paddr if image else None

        assert paddr(kimages.find_by_type(KEXEC_TYPE_DEFAULT)) == default.paddr
        assert paddr(kimages.find_by_type(KEXEC_TYPE_MULTIKERNEL)) == first.paddr
        assert paddr(kimages.find_by_type(KEXEC_TYPE_CRASH)) == crash.paddr
        assert paddr(kimages.find_multikernel_by_entry(0x1000)) == first.paddr
        assert paddr(kimages.find_multikernel_by_entry(0x2000)) == third.paddr
        assert kimages.find_multikernel_by_entry(0x3000) is None
        by_index = [paddr(kimages.get_multikernel_by_index(index)) for index in (-1, 0, 1, 2, 3)]
        assert by_index == [None, first.paddr, second.paddr, third.paddr, None]
        all_of_them = kimages.get_all_by_type(KEXEC_TYPE_MULTIKERNEL, 2)
        assert [image.paddr for image in all_of_them] == [first.paddr, second.paddr]
        assert len(kimages.get_all_by_type(KEXEC_TYPE_MULTIKERNEL, 10)) == 3

    def test_compatibility_pointers_lie_in_guest_ram(self, kimages: KimageList) -> None:
        image = add(kimages, KEXEC_TYPE_CRASH)
        kimages.update_compat_pointers(image, KEXEC_TYPE_CRASH)
        kimages.update_compat_pointers(image, KEXEC_TYPE_MULTIKERNEL)
        at = HOST_DATA + HOST_STATE.offsets["kexec_crash_image"]
        assert kimages.memory.read_u64(at) == image.paddr
        assert kimages.memory.read_u64(HOST_DATA + HOST_STATE.offsets["kexec_image"]) == 0
        kimages.update_compat_pointers(None, KEXEC_TYPE_CRASH)
        assert kimages.memory.read_u64(at) == 0


class TestCorruption:
    """Somebody has written over the list: the walk ends, and says where, and how many were in order before."""

    def broken(self, kimages: KimageList) -> ListCorruptionError:
        with pytest.raises(ListCorruptionError) as caught:
            list(kimages)
        assert f"({caught.value.good} good nodes before it)" in str(caught.value)
        assert str(caught.value).startswith("kexec_image_list ")
        return caught.value

    def test_a_cycle(self, kimages: KimageList) -> None:
        images = [add(kimages) for _ in range(4)]
        images[2].set("list_next", images[1].address("list_next"))
        error = self.broken(kimages)
        assert (error.node, error.good) == (images[1].address("list_next"), 3)
        assert f"runs in a circle through {error.node:#x}" in str(error)

    @pytest.mark.parametrize("wild", [0, 8, HOST_END, 0xDEAD000000000100, (1 << 64) - 1])
    def test_a_wild_pointer(self, kimages: KimageList, wild: int) -> None:
        images = [add(kimages) for _ in range(3)]
        images[1].set("list_next", wild)
        error = self.broken(kimages)
        assert (error.node, error.good) == (wild, 2)
        assert "where there is no memory" in str(error)

    def test_a_half_linked_node(self, kimages: KimageList) -> None:
        images = [add(kimages) for _ in range(3)]
        other = kimages.allocate()
        assert other is not None
        other.set("list_next", images[2].address("list_next"))
        images[1].set("list_next", other.address("list_next"))
        error = self.broken(kimages)
        assert (error.node, error.good) == (other.address("list_next"), 2)
        assert f"half linked at {error.node:#x}: its prev is {error.node:#x}, not " in str(error)

    def test_a_prev_that_lies(self, kimages: KimageList) -> None:
        images = [add(kimages) for _ in range(3)]
        kimages.state.set("list_prev", images[0].address("list_next"))
        assert (self.broken(kimages).node, self.broken(kimages).good) == (HOST_DATA, 3)
        with pytest.raises(ListCorruptionError, match="an end that is not one"):
            add(kimages)
        assert len(nodes(kimages)) == 3, "a refused insertion writes nothing"

    def test_removing_from_a_broken_list(self, kimages: KimageList) -> None:
        images = [add(kimages) for _ in range(3)]
        images[0].set("list_next", kimages.head)
        before = kimages.memory.read(HOST_DATA, 0x2000)
        with pytest.raises(ListCorruptionError, match="do not both point back"):
            kimages.remove_from_list(images[1])
        assert kimages.memory.read(HOST_DATA, 0x2000) == before

    @settings(deadline=None, max_examples=60)
    @given(
        count=st.integers(0, 6),
        where=st.integers(0, 13),
        value=st.integers(0, (1 << 64) - 1) | st.integers(0, 0x100).map(lambda n: HOST_DATA + 0x1000 + n * 8),
    )
    def test_any_one_pointer_written_over(self, count: int, where: int, value: int) -> None:
        """Either the walk is as it was, or it breaks, after nodes that are right."""
        kimages = empty_list()
        images = [add(kimages) for _ in range(count)]
        pointers = [HOST_DATA, HOST_DATA + 8, *(image.address("list_next") + i for image in images for i in (0, 8))]
        before = nodes(kimages)
        changed = pointers[where % len(pointers)]
        same = kimages.memory.read_u64(changed) == value
        kimages.memory.write(changed, value.to_bytes(8, "little"))
        walked, error = attempt(kimages)
        assert (error is None) == same
        assert walked == (before if error is None else before[: error.good])

    def test_random_scribbling_never_hangs(self, kimages: KimageList) -> None:
        chance = random.Random(3)
        images = [add(kimages) for _ in range(8)]
        targets = [HOST_DATA, *(image.address("list_next") for image in images)]
        for _ in range(200):
            kimages.memory.write(
                chance.choice(targets) + chance.choice((0, 8)), chance.choice(targets).to_bytes(8, "little")
            )
            walked, error = attempt(kimages)
            assert len(walked) <= 8
            assert error is None or error.good == len(walked)
