"""What a run has done, as tables that the notebook prints: who owned a CPU, and the way of a message."""

from mklab.recording import Moment, Recording, Slot

__all__ = ["message_steps", "owners"]


def owners(recording: Recording, cpu: int, since: int = 0) -> str:
    """Who owned ``cpu``, in which mode it was, and from when: a line whenever one of them changed.

    Args:
        recording: of the machine.
        cpu: index of the CPU.
        since: number of the event to begin at.
    """
    lines = [f"{'instruction':>11}  {'owner of CPU ' + str(cpu):<14}  {'mode':<10}  state"]
    last = None
    for span in recording.spans[cpu]:
        waits = span.state == "wait-for-SIPI"
        seen = (span.owner, span.mode, waits)
        is_past = span.end is not None and span.end.event < since
        # Several things change at one instruction; what is between them is worth a line only where the CPU waits.
        is_instant = span.end is not None and span.end.time == span.start.time and not (waits and span.owner is None)
        if is_past or is_instant or seen == last:
            continue
        last = seen
        lines.append(f"{span.start.time:>11,}  {span.owner or 'nobody':<14}  {span.mode:<10}  {span.state}")
    return "\n".join(lines)


def message_steps(recording: Recording, number: int = 0) -> str:
    """The way of a message from one kernel to another, step by step.

    Args:
        recording: of the machine.
        number: which message, from 0.

    Raises:
        ValueError: there is no such message.
    """
    if not 0 <= number < len(recording.messages):
        raise ValueError(f"number must be 0 to {len(recording.messages) - 1}, not {number!r}")
    ipi = recording.messages[number]
    steps: list[tuple[Moment | None, str]] = [
        (ipi.sent, f"CPU {ipi.sender} writes its ICR: vector 0xEA to CPU {ipi.target}")
    ]
    if ipi.slot is not None:
        steps.insert(
            0, (ipi.sent, f"the slot at {ipi.slot.address:#x} already holds {_text(ipi.slot)!r}, type {ipi.slot.type}")
        )
    steps += [
        (ipi.accepted, f"bit 0xEA is set in the IRR of CPU {ipi.target}"),
        (ipi.lost, f"the interrupt is lost: {ipi.why}"),
        (ipi.delivered, f"CPU {ipi.target} leaves HLT and enters its handler of vector 0xEA"),
        (ipi.taken, f"in its slot it will find {_text(ipi.read)!r}"),
        (ipi.eoi, f"CPU {ipi.target} writes EOI: the next interrupt may come"),
    ]
    return "\n".join(f"{moment.time:>11,}  {text}" for moment, text in steps if moment is not None)


def _text(slot: Slot | None) -> str:
    return bytes.fromhex(slot.payload).decode("ascii", "replace") if slot else ""
