"""The scenarios of defects 26 to 44 where v1's defect is mended: then they say so."""

from collections.abc import Callable
from typing import Any

import pytest

from mklab.guest import build
from mklab.kernel import minikernel as loader
from mklab.kernel.layout import FREE_PAGES
from mklab.kernel.page_alloc import PG_RESERVED, PageAllocator
from mklab.lab.defects import messaging
from mklab.lab.defects.slots import _First
from mklab.machine.interrupts import InterruptBus
from mklab.machine.schedule import Schedule

Mend = Callable[[pytest.MonkeyPatch], None]


def test_26_to_44_and_two_that_cannot_show() -> None:
    assert [defect.number for defect in messaging.DEFECTS] == list(range(26, 45))
    assert [defect.number for defect in messaging.DEFECTS if defect.run is None] == [42, 43]


def _rebuilt(*changes: tuple[str, str, str]) -> Mend:
    """Every kernel is a minikernel in whose source files ``(file, old, new)`` are changed."""

    def mend(monkeypatch: pytest.MonkeyPatch) -> None:
        texts, script = build.sources("minikernel")
        for file, old, new in changes:
            assert texts[file].count(old) == 1
            texts[file] = texts[file].replace(old, new)
        image = build.build(texts, script)
        monkeypatch.setattr(loader, "minikernel", lambda: image)

    return mend


FULL_FLAG = _rebuilt(
    (
        "multikernel.c",
        "\tfill_slot(mk_slot((u32)cpu)",
        "\tif (mk_slot((u32)cpu)->data_size)\n\t\treturn -EINVAL;\n\tfill_slot(mk_slot((u32)cpu)",
    ),
    ("handlers.c", "\tput(text);\n\tend_line();\n", "\tput(text);\n\tend_line();\n\tdata->data_size = 0;\n"),
)
COPY = _rebuilt(
    (
        "multikernel.c",
        "static struct mk_ipi_handler handlers[8];",
        "static struct mk_ipi_data copies[8];\nstatic struct mk_ipi_handler handlers[8];",
    ),
    (
        "multikernel.c",
        "\tslot = mk_slot(physical);",
        "\tslot = &copies[physical & 7];\n\t*slot = *mk_slot(physical);",
    ),
)
ONE_HANDLER = _rebuilt(
    (
        "multikernel.c",
        "\t\tirq_work_queue(&handler->work);\n",
        "\t\tirq_work_queue(&handler->work);\n\t\tbreak;\n",
    )
)
PHYSICAL = _rebuilt(
    ("multikernel.c", "fill_slot(mk_slot((u32)cpu)", "fill_slot(mk_slot((u32)arch_cpu_physical_id(cpu))")
)
BOUND = _rebuilt(
    (
        "multikernel.c",
        '\tbegin_line();\n\tif (!mk_shared_data) {\n\t\tput("Multikernel IPI',
        '\tif (physical >= NR_CPUS)\n\t\treturn;\n\tbegin_line();\n\tif (!mk_shared_data) {\n\t\tput("Multikernel IPI',
    )
)
HOST_ZEROES = _rebuilt(
    (
        "multikernel.c",
        "\tmemset(mk_shared_data, 0",
        "\tif (!mk_boot_info.kernel_id)\n\t\tmemset(mk_shared_data, 0",
    )
)
WHOLE_AREA = _rebuilt(
    (
        "multikernel.c",
        "\tmemset(mk_shared_data, 0, MK_SHARED_DATA_SIZE)",
        "\tmemset(mk_shared_data, 0, MK_MEM_SIZE)",
    )
)
ANY_MEMORY = _rebuilt(
    ("multikernel.c", "if (!mk_shared_data && mk_boot_info.flags & MK_AGREED_SHARED_MEMORY)", "if (!mk_shared_data)")
)
HEED_THE_RESULT = _rebuilt(
    (
        "multikernel.c",
        "\tmk_shared_resource[0] = mk_shared_phys;",
        "\tif (!mk_shared_data)\n\t\treturn;\n\tmk_shared_resource[0] = mk_shared_phys;",
    )
)
OWN_PAGES = _rebuilt(
    (
        "multikernel.c",
        "\tmemcpy(pfn, data->buffer, sizeof(*pfn));",
        "\tmemcpy(pfn, data->buffer, sizeof(*pfn));\n"
        "\tif (!memremap(*pfn * PAGE_SIZE, PAGE_SIZE))\n\t\treturn -EINVAL;",
    )
)
CHECK_SIZE = _rebuilt(
    (
        "multikernel.c",
        '\tput("Multikernel IPI received on CPU ");',
        "\tif (slot->data_size > MK_MAX_DATA_SIZE) {\n\t\tend_line();\n\t\treturn;\n\t}\n"
        '\tput("Multikernel IPI received on CPU ");',
    )
)
OWN_COUNTER = _rebuilt(("multikernel.c", "irq_stat[physical & 255].call++;", "irq_stat[physical & 255].spurious++;"))
FIND_FIRST = _rebuilt(
    (
        "multikernel.c",
        "\t\t\t*at = handler->next;\n\t\t\tbreak;",
        "\t\t\t*at = handler->next;\n\t\t\tgoto found;",
    ),
    ("multikernel.c", "\t/* irq_work_sync() and kfree()", "\treturn;\nfound:\n\t/* irq_work_sync() and kfree()"),
)
HASHED = _rebuilt(("multikernel.c", "put_hex((u64)mk_shared_data);", 'put("(____ptrval____)");'))


def reserve_the_area(monkeypatch: pytest.MonkeyPatch) -> None:
    initialise = PageAllocator.initialise

    def fixed(self: PageAllocator) -> None:
        initialise(self)
        for page in range(FREE_PAGES[0], FREE_PAGES[0] + 6 * 4096, 4096):
            self.page(page).set("flags", PG_RESERVED)

    monkeypatch.setattr(PageAllocator, "initialise", fixed)


def filter_ipis(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Jailhouse does: an IPI out of the cell is dropped."""
    targets = InterruptBus.targets

    def fixed(self: InterruptBus, sender: int, icr: Any) -> Any:
        owner = self._machine.cpus[sender].owner
        return [cpu for cpu in targets(self, sender, icr) if owner == "host" or cpu.owner == owner]

    monkeypatch.setattr(InterruptBus, "targets", fixed)


@pytest.mark.parametrize(
    ("number", "mend", "gone"),
    [
        pytest.param(26, FULL_FLAG, {0, 1}, id="26 the sender heeds a full slot"),
        pytest.param(27, COPY, {0}, id="27 a copy is taken at once"),
        pytest.param(28, ONE_HANDLER, {0}, id="28 one handler for a message"),
        pytest.param(29, PHYSICAL, {0, 1}, id="29 the sender counts physically, too"),
        pytest.param(30, BOUND, {0, 1, 2}, id="30 the id is compared with NR_CPUS"),
        pytest.param(31, HOST_ZEROES, {0}, id="31 only the host zeroes the area"),
        pytest.param(33, reserve_the_area, {1}, id="33 the area is reserved"),
        pytest.param(34, WHOLE_AREA, {0}, id="34 all of it is zeroed"),
        pytest.param(35, ANY_MEMORY, {0, 1}, id="35 memory that is no RAM can be mapped"),
        pytest.param(36, HEED_THE_RESULT, {0}, id="36 the result is heeded"),
        pytest.param(37, OWN_PAGES, {0}, id="37 only own pages are taken"),
        pytest.param(38, CHECK_SIZE, {0}, id="38 the size is checked"),
        pytest.param(39, filter_ipis, {0, 1, 2}, id="39 IPIs are filtered"),
        pytest.param(40, OWN_COUNTER, {0}, id="40 counted elsewhere"),
        pytest.param(41, FIND_FIRST, {2}, id="41 only what was found is freed"),
        pytest.param(44, HASHED, {0}, id="44 the pointer is hashed"),
    ],
)
def test_a_scenario_sees_that_its_defect_is_mended(
    number: int, mend: Mend, gone: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``gone``: which of its findings are not seen any more."""
    mend(monkeypatch)
    run = next(defect.run for defect in messaging.DEFECTS if defect.number == number)
    assert run is not None
    findings = run()
    assert {index for index, finding in enumerate(findings) if not finding.seen} == gone, findings


def test_a_layout_that_is_agreed_leaves_the_neighbour_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect 32 with one NR_CPUS for all: kernel 1 lives on."""
    from mklab.lab.defects import area

    monkeypatch.setattr(area, "_MANY_CPUS", 64)
    assert [finding.seen for finding in area._layouts()] == [True, False]


def test_who_comes_first_is_plain_data() -> None:
    schedule: Schedule = _First(2, 0, quantum=7)
    other = _First(1)
    other.restore(schedule.state())
    assert [other.choose(runnable) for runnable in ([0, 1, 2], [0, 1], [1, 3])] == [(2, 7), (0, 7), (1, 7)]
