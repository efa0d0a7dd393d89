"""The scenario told in words: what `mklab demo` prints, and the same as plain data."""

from typing import Any

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mklab.guest.abi import MULTIKERNEL_VECTOR
from mklab.kernel.kexec import KEXEC_SEGMENT_MAX
from mklab.kernel.list_head import ListCorruptionError
from mklab.kernel.proc import TYPE_NAMES
from mklab.lab.scenario import Scenario
from mklab.trace import (
    Delivered,
    Eoi,
    Event,
    Ignored,
    Init,
    IpiSent,
    Lost,
    Message,
    MessageTaken,
    ModeChange,
    OwnerChange,
    Planned,
    PlatformReset,
    Printk,
    Shutdown,
    Sipi,
    Step,
)

__all__ = ["cpu_table", "describe", "say", "tell", "trace_line"]


def describe(scenario: Scenario) -> dict[str, Any]:
    """Where the scenario stands, as plain data for JSON."""
    machine = scenario.machine
    return {
        "cpus": [
            {
                "cpu": cpu.index,
                "apic_id": cpu.apic_id,
                "owner": cpu.owner,
                "planned": cpu.planned,
                "mode": cpu.mode,
                "state": str(cpu.state),
            }
            for cpu in machine.cpus
        ],
        **_kimages(scenario),
        "messages": [
            {
                "from_cpu": event.cpu,
                "to_cpu": event.to_cpu,
                "type": event.type,
                "size": event.size,
                "vector": event.vector,
                "payload": event.payload,
                "time": event.time,
            }
            for event in machine.trace.of(Message)
        ],
        "console": {name: machine.console(name) for name in machine.images},
        "instructions": machine.time,
        "events": machine.trace.count,
        "trace_sha256": machine.trace.sha256,
    }


def _kimages(scenario: Scenario) -> dict[str, Any]:
    """``kimages``, as far as the list can be followed, and ``kimages_error``: why not further, or None."""
    images: list[dict[str, Any]] = []
    try:
        for image in scenario.host.kimages:
            count = min(image.get("nr_segments"), KEXEC_SEGMENT_MAX)
            segments = [(image.get("segment", 4 * i + 2), image.get("segment", 4 * i + 3)) for i in range(count)]
            images.append(
                {
                    "type": TYPE_NAMES.get(image.get("type"), "unknown"),
                    "start": image.get("start"),
                    "segments": [{"mem": mem, "memsz": memsz} for mem, memsz in segments],
                }
            )
    except ListCorruptionError as error:
        return {"kimages": images, "kimages_error": str(error)}
    return {"kimages": images, "kimages_error": None}


def tell(scenario: Scenario, console: Console) -> None:
    """Print the scenario: its steps, its messages, the consoles, and who owns each CPU in the end."""
    machine = scenario.machine
    console.print(_steps(scenario))
    for name in machine.images:
        console.print(
            Panel(Text(machine.console(name).rstrip() or "(nothing)"), title=f"console of {name}", expand=False)
        )
    console.print(cpu_table(scenario))
    console.print(Text(scenario.host.proc_multikernel().rstrip()))
    console.print(trace_line(scenario))


def _steps(scenario: Scenario) -> RenderableType:
    table = Table(title="What happens, in virtual time (instructions)", title_justify="left", box=None, pad_edge=False)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("CPU", justify="right")
    table.add_column("what")
    for event in scenario.machine.trace:
        # How the host brings up its own CPUs is not the story.
        told = event.seq >= scenario.booted or isinstance(event, Printk | OwnerChange)
        text = say(event) if told else ""
        if text:
            table.add_row(f"{event.time:,}", "" if event.cpu is None else str(event.cpu), text)
    return table


def trace_line(scenario: Scenario) -> str:
    """How long the run was, and its hash."""
    machine = scenario.machine
    return f"\n{machine.time:,} instructions, {machine.trace.count:,} events, trace sha256 {machine.trace.sha256}"


def cpu_table(scenario: Scenario) -> RenderableType:
    """Who owns each CPU."""
    table = Table(title="Who owns each CPU?", title_justify="left", box=None, pad_edge=False)
    for name in ("CPU", "APIC id", "owner", "planned", "mode", "state"):
        table.add_column(name)
    for cpu in scenario.machine.cpus:
        owner, planned = cpu.owner or "nobody", cpu.planned or "-"
        table.add_row(str(cpu.index), str(cpu.apic_id), owner, planned, cpu.mode, str(cpu.state))
    return table


def say(event: Event) -> str:
    """One event in words; empty for those that a reader can do without."""
    match event:
        case Printk():
            return f"{event.kernel}: {event.text}"
        case Planned(owner="host") | Step(step="wait"):
            return ""
        case Planned():
            return f"planned for {event.owner or 'nobody'}"
        case Step():
            return f"{event.function}, {event.step}: {event.detail}"
        case IpiSent() if event.delivery in ("init", "sipi"):
            return ""
        case IpiSent():
            return f"sends {event.delivery} IPI {event.vector:#x} to CPU {', '.join(map(str, event.targets)) or '?'}"
        case Init():
            return f"INIT from CPU {event.from_cpu}"
        case Sipi():
            return f"SIPI {event.vector:#x} from CPU {event.from_cpu}: real mode at {event.vector << 12:#x}"
        case Ignored():
            return f"{event.what} ignored: {event.why}"
        case ModeChange():
            return f"{event.mode} mode"
        case OwnerChange(owner=None):
            return "belongs to nobody now"
        case OwnerChange():
            against = f", but was planned for {event.planned}" if event.against_plan else ""
            return f"enters {event.owner} at {event.address:#x}{against}"
        case Message():
            return f"slot {event.slot:#x} holds type {event.type}, {event.size} bytes: {_ascii(event.payload)}"
        case MessageTaken():
            return f"finds type {event.type} from CPU {event.sender} in its slot: {_ascii(event.payload)}"
        case Delivered() if event.vector == MULTIKERNEL_VECTOR or event.source != "interrupt":
            return f"{event.source} {event.vector:#x} delivered, handler at {event.handler:#x}"
        case Eoi(vector=vector) if vector == MULTIKERNEL_VECTOR:
            return "EOI"
        case Lost():
            return f"IPI {event.vector:#x} lost: {event.why}"
        case Shutdown():
            return f"shuts down: {event.why}"
        case PlatformReset():
            return f"PLATFORM RESET: {event.why}"
        case _:
            return ""


def _ascii(payload: str) -> str:
    return repr(bytes.fromhex(payload).decode("ascii", "replace"))
