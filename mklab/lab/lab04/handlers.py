"""Exercise 04.5: the handler of 0xEA, in assembly."""

from mklab.lab import forms
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Ran
from mklab.lab.lab04.bench import IDT, VARIABLES, place, program, set_gate, stack
from mklab.lab.stores import misfit
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.registers import GPRS
from mklab.trace import ApicWrite, Delivered, Eoi, Fault

__all__ = ["EXERCISES"]

_VECTOR = 0xEA
_COUNTER = VARIABLES + 8
_PATTERNS = {
    name: number * 0x1111111111111111 for number, name in enumerate((name for name in GPRS if name != "rsp"), 1)
}
"""What handler_frame.S loads before it halts."""
_SIGNED = 0xFFFFFFFFFEE00000
"""Where an absolute address of 32 bits leads that was meant for the APIC page."""


def _furnish(machine: Machine, code: Code) -> None:
    set_gate(machine, _VECTOR, code.symbols["handler"])


def _judge(ran: Ran, _seed: int) -> Verdict:
    events = ran.events
    taken = [one for one in events if isinstance(one, Delivered) and (one.cpu, one.vector) == (0, _VECTOR)]
    ended = [one for one in events if isinstance(one, Eoi) and one.cpu == 0]
    apic, registers = ran.machine.apics[0], ran.registers
    beyond = ran.code.symbols["beyond"]
    if not beyond <= registers.rip <= beyond + 1:
        return not_yet(
            "CPU 0 has stopped inside your handler, with HLT. Interrupts are off there, so nothing wakes it any more.",
            f"CPU 0 stands at {registers.rip:#x}",
            "A handler goes back to what it interrupted: IRETQ.",
        )
    if registers.rsp == stack(0) - 32:
        return not_yet(
            f"Your handler went back with RET, which takes one of the five quadwords that the CPU had pushed. RSP is"
            f" {registers.rsp:#x} instead of {stack(0):#x}, and IF is still 0: the second IPI waits in IRR for ever.",
            f"event {taken[0].seq}: the CPU pushes SS, RSP, RFLAGS, CS and RIP",
            "Which instruction takes back all five?",
        )
    if not ended:
        return not_yet(
            f"The first IPI was handled. The second is in IRR and stays there: bit {_VECTOR:#x} of ISR is still set, so"
            " the APIC takes the first for under way, and lets nothing of its class through.",
            f"CPU 0: ISR has {_VECTOR:#x}, IRR has {_VECTOR:#x}",
            "What tells the APIC that a handler is done? It is one store.",
        )
    if len(ended) > len(taken):
        return not_yet(
            f"For {len(taken)} interrupts your handler has written EOI {len(ended)} times. Here the second found"
            " nothing in service; on a busy CPU it would end another handler's interrupt too early.",
            f"event {ended[1].seq}",
            "One EOI for each interrupt.",
        )
    stray = next((one for one in events if isinstance(one, ApicWrite) and one.cpu == 0), None)
    if stray is not None:
        return not_yet(
            f"Your handler has stored at {APIC_BASE + stray.offset:#x}, which is not EOI alone: a register of the APIC"
            " takes one store of 32 bits, at its own address.",
            f"event {stray.seq}",
            "EOI is at 0xFEE000B0.",
        )
    if (wrong := misfit(ran, 0)) is not None:
        return wrong
    for name, pattern in _PATTERNS.items():
        if (got := getattr(registers, name)) != pattern:
            return not_yet(
                f"{name.upper()} is another one after your handler. It interrupted code that knows nothing of it,"
                " between any two instructions: that code now computes with your value.",
                f"CPU 0, {name.upper()}",
                "Push what you use, pop it in the reverse order before IRETQ.",
                expected=f"{name} = {pattern:#x}",
                got=f"{name} = {got:#x}",
            )
    if registers.rsp != stack(0):
        return not_yet(
            f"RSP is {registers.rsp:#x} after your handler, and was {stack(0):#x}.", "CPU 0, RSP", "Pop what you push."
        )
    return _counted(ran, len(taken), apic.irr)


def _counted(ran: Ran, taken: int, waits: int) -> Verdict:
    count = int.from_bytes(ran.read(_COUNTER, 4), "little")
    if waits or taken != 2:
        return not_yet(
            f"CPU 0 has taken {taken} of two interrupts, and IRR {'is not' if waits else 'is'} empty.",
            "CPU 0",
            "What keeps the second from the CPU? Look at IF, ISR and IRR.",
        )
    if count != taken:
        return not_yet(
            f"Your handler ran {taken} times, and the counter at {_COUNTER:#x} is {count}.",
            f"the 32 bits at {_COUNTER:#x}",
            "Add 1 to what is there, once in each run.",
            expected=str(taken),
            got=str(count),
        )
    return Verdict(
        Outcome.PASSED,
        "Two IPIs, two runs, two EOIs; and the code that was interrupted has found every register as it was.",
        next_step="Move EOI to the other end of your handler and check again. Both pass: what is the difference?",
    )


def _causes(ran: Ran, _seed: int) -> Verdict | None:
    fault = ran.fault
    if fault is None:
        return None
    line = ran.line(fault.rip)
    where = f"line {line} of your cell" if line else f"instruction at {fault.rip:#x}"
    if fault.vector == 3 and ran.line(fault.rip - 1) is None:
        return not_yet(
            "Your handler ran on beyond its last instruction: nothing led back to the code that was interrupted.",
            "the end of your cell",
            "A handler ends with IRETQ.",
        )
    if fault.vector == 14 and fault.cr2 & -0x1000 == _SIGNED:
        return not_yet(
            f"Your store went to {fault.cr2:#x}: in 64-bit code an absolute address has 32 bits and is widened with its"
            " sign. Nothing is mapped there.",
            where,
            "Put the address into a register first: movl $0xfee000b0, %eax clears the upper half of RAX.",
        )
    return _returned_badly(ran, fault, where)


def _returned_badly(ran: Ran, fault: Fault, where: str) -> Verdict | None:
    code = ran.read(fault.rip, 2) if ran.machine.memory.contains(fault.rip, 2) else b""
    if code[:1] == b"\xcf":
        return not_yet(
            "Your handler went back with IRET of 32 bits: it took five words of 32 bits, and the CPU had pushed five of"
            f" 64. What it took for CS was no code segment: exception {fault.vector}.",
            where,
            "With the suffix q it takes quadwords: IRETQ.",
        )
    if code == b"\x48\xcf":
        return not_yet(
            f"IRETQ found no frame: exception {fault.vector}. RSP does not point at the RIP that the CPU had pushed.",
            where,
            "Every push needs its pop before IRETQ, and no pop more.",
        )
    return None


_EOI = "    movl $0xfee000b0, %eax\n    movl $0, (%rax)\n"
_POP = "    popq %rax\n"

_handler = forms.guest(
    "04.5",
    "The handler of 0xEA",
    "assembly",
    _judge,
    (
        "Four things: count, tell the APIC, leave no trace in the registers, go back. The handler in ipis.S above does"
        " the same and more.",
        "The CPU has pushed SS, RSP, RFLAGS, CS and RIP, and only IRETQ takes them back. EOI is a store of 0 at"
        " 0xFEE000B0. Whatever register you use, you save and restore.",
        "pushq %rax; incl 0x40008; movl $0xfee000b0, %eax; movl $0, (%rax); popq %rax; iretq.",
    ),
    (
        Mistake("no EOI", ((_EOI, ""),), "still set, so the APIC takes the first for under way"),
        Mistake("RET", (("    iretq", "    ret"),), "RET, which takes one of the five quadwords"),
        Mistake("IRET of 32 bits", (("iretq", "iretl"),), "took five words of 32 bits"),
        Mistake("RAX is lost", (("    pushq %rax\n", ""), (_POP, "")), "RAX is another one after your handler"),
        Mistake("no pop", ((_POP, ""),), "IRETQ found no frame"),
        Mistake("no end", (("    iretq", ""),), "ran on beyond its last instruction"),
        Mistake("HLT", (("    iretq", "    hlt"),), "has stopped inside your handler"),
        Mistake("not counted", (("    incl 0x40008\n", ""),), "the counter at 0x40008 is 0"),
        Mistake("set, not counted", (("incl 0x40008", "movl $1, 0x40008"),), "the counter at 0x40008 is 1"),
        Mistake("another counter", (("0x40008", "0x40010"),), "written over the other variables"),
        Mistake(
            "RAX is saved in somebody's memory",
            (("pushq %rax", "movq %rax, 0x50000"), ("popq %rax", "movq 0x50000, %rax")),
            "written over memory that is not yours",
        ),
        Mistake("EOI twice", ((_EOI, _EOI + "    movl $0, (%rax)\n"),), "has written EOI 4 times"),
        Mistake(
            "an absolute address",
            ((_EOI, "    movl $0, 0xfffffffffee000b0\n"),),
            "an absolute address has 32 bits and is widened",
        ),
        Mistake("EOI of one byte", (("movl $0, (%rax)", "movb $0, (%rax)"),), "at 0xfee000b0 has 8 bits"),
        Mistake("EOI of 64 bits", (("movl $0, (%rax)", "movq $0, (%rax)"),), "stored at 0xfee000b4, which is not EOI"),
        Mistake("across EOI", (("$0xfee000b0", "$0xfee000af"),), "which is not EOI alone"),
        Mistake("for ever", (("    iretq", "    jmp handler"),), "did not come to an end"),
        Mistake("another name", (("handler:", "my_handler:"),), "defines no handler"),
    ),
    place=place(
        {0: ("main", 0), 1: ("sender", 0)},
        _furnish,
        apic_ids=[0, 1],
        defines="handler",
        keep={
            "the variables below the counter": range(VARIABLES, _COUNTER),
            "the other variables": range(_COUNTER + 4, VARIABLES + 0x1000),
            "memory that is not yours": range(VARIABLES + 0x1000, stack(0) - 0x1000),
            "the IDT": range(IDT, IDT + 0x1000),
        },
    ),
    causes=_causes,
    sources=(("handler_frame.S", program("handler_frame.S")),),
    alternatives=(
        "handler:\n    pushq %rbx\n    movl $0xfee000b0, %ebx\n    movl $0, (%rbx)\n    popq %rbx\n"
        "    lock addl $1, 0x40008\n    iretq\n",
        ".intel_syntax noprefix\nhandler:\n    push rcx\n    mov ecx, 0xfee00000\n    inc dword ptr [0x40008]\n"
        "    mov dword ptr [rcx + 0xb0], 0\n    pop rcx\n    iretq\n",
    ),
)

EXERCISES = (_handler,)
