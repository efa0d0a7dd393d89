"""A switch of tasks through a task gate of the IDT (SDM vol. 3, "Task Switching").

CALL, JMP and IRET switch tasks too; the engine executes those by itself, with the same two layouts.
"""

from mklab.machine.descriptor import mark_accessed, mark_busy, read_descriptor, segment_of_virtual_8086
from mklab.machine.fault import INVALID_TSS, NOT_PRESENT, PROTECTION, STACK_FAULT, Delivery, GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, RFLAGS, SEGMENTS, Registers, Segment
from mklab.machine.stack import push
from mklab.structs import Field, Struct, View

__all__ = ["TSS16", "TSS32", "enter_task"]

_GENERAL = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")
_LDT, _AVAILABLE_16, _AVAILABLE_32 = 2, 1, 9
_WIDE = 8


def _selectors(*names: str) -> list[Field]:
    """16 bits each, and as many reserved ones."""
    return [Field(field, "u16") for name in names for field in (name, f"{name}_reserved")]


TSS32 = Struct(
    "tss32",
    *_selectors("link"),
    *(field for level in "012" for field in (Field(f"esp{level}", "u32"), *_selectors(f"ss{level}"))),
    *(Field(name, "u32") for name in ("cr3", "rip", "rflags", *_GENERAL)),
    *_selectors(*SEGMENTS, "ldtr"),
    Field("trap", "u16"),
    Field("iomap", "u16"),
)
"""SDM "Task-State Segment (TSS)"; fields are named as the registers that they go to."""
TSS16 = Struct(
    "tss16",
    Field("link", "u16"),
    *(Field(f"{name}{level}", "u16") for level in "012" for name in ("sp", "ss")),
    *(Field(name, "u16") for name in ("rip", "rflags", *_GENERAL, *SEGMENTS[:4], "ldtr")),
)
"""SDM "16-Bit Task-State Segment (TSS)"."""


def enter_task(memory: PhysicalMemory, registers: Registers, selector: int, event: Delivery) -> Registers:
    """Leave the current task for the one that a task gate names; the error code goes on the new task's stack.

    Raises:
        GuestFaultError: #GP, #NP, #TS, #SS, #PF. Its ``registers`` are the new task's where the switch was under way.
    """
    linear = LinearMemory(memory, registers)
    new = _available_task(linear, registers, selector, event)
    _save(linear, registers, new, event)
    entered = _load(linear, registers, new)
    try:
        _qualify(memory, entered, event)
    except GuestFaultError as fault:
        fault.registers = entered
        raise
    return entered


def _layout(task: Segment) -> Struct:
    return TSS32 if (task.system or 0) & _WIDE else TSS16


def _available_task(linear: LinearMemory, registers: Registers, selector: int, event: Delivery) -> Segment:
    """The task state segment that a task gate names."""
    error = event.selector_error(selector)
    task = None if selector & 4 else read_descriptor(linear, registers, selector)
    if task is None:
        raise GuestFaultError(PROTECTION, error, f"the task {selector:#x} is not in the GDT")
    if task.system not in (_AVAILABLE_16, _AVAILABLE_32):
        raise GuestFaultError(PROTECTION, error, f"selector {selector:#x} names no task, or a busy one")
    if not task.present:
        raise GuestFaultError(NOT_PRESENT, error, f"the task {selector:#x} is not present")
    for one in (task, registers.tr):
        if one.limit < _layout(one).size - 1:
            why = f"the task state segment {one.selector:#x} has a limit of only {one.limit:#x}"
            raise GuestFaultError(INVALID_TSS, event.selector_error(one.selector), why)
        linear.check(one.base, _layout(one).size, write=True)
    return task


def _save(linear: LinearMemory, registers: Registers, new: Segment, event: Delivery) -> None:
    """Store the state of the current task in its TSS; link the new one, which becomes busy, to it."""
    layout = _layout(registers.tr)
    old = layout(linear, registers.tr.base)
    for name in ("rip", *_GENERAL):
        old.set(name, getattr(registers, name) & _most(layout, name))
    old.set("rflags", event.saved_flags(registers.rflags) & _most(layout, "rflags"))
    for name in SEGMENTS:
        if name in layout.fields:
            old.set(name, getattr(registers, name).selector)
    _layout(new)(linear, new.base).set("link", registers.tr.selector)
    mark_busy(linear, registers, new)


def _most(layout: Struct, name: str) -> int:
    return (1 << 8 * layout.fields[name].width) - 1


def _load(linear: LinearMemory, registers: Registers, new: Segment) -> Registers:
    """The registers with the state that the new TSS holds; of segments only what the selector says."""
    tss: View = _layout(new)(linear, new.base)
    after = Registers.from_dict(registers.to_dict())
    after.tr = new
    after.cr0 |= CR0.TS
    after.rip = tss.get("rip")
    after.rflags = tss.get("rflags") & RFLAGS.DEFINED | RFLAGS.ONE | RFLAGS.NT
    after.shadow = False
    for name in _GENERAL:
        setattr(after, name, tss.get(name))
    if tss.layout is TSS32 and registers.cr0 & CR0.PG:
        after.cr3 = tss.get("cr3")
    virtual = after.virtual_8086
    cpl = 3 if virtual else tss.get("cs") & 3
    for name in SEGMENTS:
        selector = tss.get(name) if name in tss.layout.fields else 0
        # Not present, but with the new CPL: so they are if a fault comes before they are loaded.
        unloaded = Segment(selector, 0, 0, cpl << 13)
        setattr(after, name, segment_of_virtual_8086(selector) if virtual else unloaded)
    after.ldtr = Segment(tss.get("ldtr"), 0, 0, 0)
    return after


def _qualify(memory: PhysicalMemory, registers: Registers, event: Delivery) -> None:
    """Load the segments that ``registers`` name so far, push the error code, and check EIP.

    SDM, table "Exception Conditions Checked During a Task Switch".
    """
    linear = LinearMemory(memory, registers)
    _load_ldt(linear, registers, event)
    if not registers.virtual_8086:
        for name in ("cs", "ss", "es", "ds", "fs", "gs"):
            _load_segment(linear, registers, name, event)
    if event.error is not None:
        width = 4 if (registers.tr.system or 0) & _WIDE else 2
        user, error = registers.cpl == 3, event.external
        registers.rsp = push(linear, registers.ss, registers.rsp, [event.error], width, error=error, user=user)
    if not registers.cs.holds(registers.rip, 1):
        why = f"the new task's EIP {registers.rip:#x} lies beyond the limit of its code segment"
        raise GuestFaultError(PROTECTION, event.external, why)


def _load_ldt(linear: LinearMemory, registers: Registers, event: Delivery) -> None:
    selector = registers.ldtr.selector
    if selector & ~3 == 0:
        return
    found = None if selector & 4 else read_descriptor(linear, registers, selector)
    if found is None or found.system != _LDT or not found.present:
        why = f"the new task's LDT {selector:#x} is no local descriptor table that is present"
        raise GuestFaultError(INVALID_TSS, event.selector_error(selector), why)
    registers.ldtr = found


def _load_segment(linear: LinearMemory, registers: Registers, name: str, event: Delivery) -> None:
    selector, cpl = getattr(registers, name).selector, registers.cs.rpl
    error = event.selector_error(selector)
    if selector & ~3 == 0:
        if name in ("cs", "ss"):
            raise GuestFaultError(INVALID_TSS, error, f"the new task's {name.upper()} is a null selector")
        setattr(registers, name, Segment(selector, 0, 0, 0))
        return
    found = read_descriptor(linear, registers, selector)
    if found is None or not _fits(found, name, cpl):
        why = f"the new task's {name.upper()} {selector:#x} is no segment for it at CPL {cpl}"
        raise GuestFaultError(INVALID_TSS, error, why)
    if not found.present:
        vector = STACK_FAULT if name == "ss" else NOT_PRESENT
        raise GuestFaultError(vector, error, f"the new task's {name.upper()} {selector:#x} is not present")
    mark_accessed(linear, registers, found)
    setattr(registers, name, found)


def _fits(segment: Segment, name: str, cpl: int) -> bool:
    """Whether a segment register may hold ``segment`` at ``cpl``."""
    if name == "cs":
        return segment.code and (segment.dpl <= cpl if segment.conforming else segment.dpl == cpl)
    if name == "ss":
        return segment.writable and segment.dpl == segment.rpl == cpl
    return segment.readable and (segment.conforming or segment.dpl >= max(cpl, segment.rpl))
