"""Exercise 00.3: what has become of the message that the student's function was to send."""

from mklab.guest.abi import MK_PING, MK_PONG
from mklab.lab.exercise import not_yet
from mklab.lab.lab00.trial import CPU, KERNEL, TEXT, Trial
from mklab.lab.verdict import Verdict
from mklab.recording import Ipi

__all__ = ["not_answered", "sent"]


def sent(trial: Trial) -> list[Ipi]:
    """The pings that the student's function sent with the right text to the right CPU."""
    pings = [ipi for ipi in trial.recording.messages if ipi.sent.event >= trial.begin and ipi.sender == 0]
    return [ipi for ipi in pings if ipi.target == CPU and ipi.slot and ipi.slot.payload == TEXT.hex()]


def not_answered(trial: Trial) -> Verdict | None:
    """The verdict on a message that kernel 1 has not answered, or None."""
    messages = [ipi for ipi in trial.recording.messages if ipi.sent.event >= trial.begin and ipi.sender == 0]
    if not messages:
        return not_yet(
            f"{KERNEL} runs on CPU {CPU}, and nobody has said a word to it.",
            "the console of kernel 1, which holds its first line only",
            f"One call is missing: send {TEXT!r} with multikernel_send_ipi_data.",
        )
    right = sent(trial)
    if not right:
        last = messages[-1]
        return not_yet(
            f"A message was sent, but it was {_payload_text(last)!r} to CPU {last.target}.",
            f"event {last.sent.event}, at instruction {last.sent.time:,}",
            f"The exercise asks for {TEXT!r} to CPU {CPU}, where {KERNEL} runs.",
        )
    return _undelivered(trial, right[-1])


def _undelivered(trial: Trial, ipi: Ipi) -> Verdict | None:
    """Why the message ``ipi`` was not answered by the second kernel, if it was not."""
    at = f"event {ipi.sent.event}, at instruction {ipi.sent.time:,}: CPU 0 writes its ICR"
    if ipi.lost is not None:
        return not_yet(
            f"Your message was lost: {ipi.why}. multikernel_send_ipi_data returned 0 all the same, since a CPU that"
            " sends an interrupt does not learn what becomes of it.",
            at,
            f"{KERNEL} takes interrupts once it is up. Which call waits for that?",
        )
    if ipi.taken is None:
        return not_yet(
            f"Your message lies in its slot, and CPU {CPU} has not taken it.", at, f"Is {KERNEL} up when you send?"
        )
    if trial.recording.span_at(CPU, ipi.taken.event).owner != KERNEL:
        return not_yet(
            f"Your message was taken by the host: CPU {CPU} was still its own.",
            at,
            f"Send it after {KERNEL} is up on CPU {CPU}.",
        )
    answers = [one for one in trial.recording.messages if one.sender == CPU and one.slot and one.slot.type == MK_PONG]
    if ipi.slot is None or ipi.slot.type != MK_PING or not any(one.taken for one in answers):
        return not_yet(
            f"{KERNEL} took your message and sent no answer.",
            at,
            f"A kernel answers messages of type {MK_PING} (MK_PING), the default. Leave the type out.",
        )
    return None


def _payload_text(ipi: Ipi) -> str:
    return bytes.fromhex(ipi.slot.payload).decode("ascii", "replace") if ipi.slot else ""
