"""``mklab boot``: one image alone on a machine, its serial port on the terminal."""

import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mklab.cli_terminal import Output, standard_input, termination

if TYPE_CHECKING:
    from mklab.machine.machine import Machine, Stop
    from mklab.trace import Event

__all__ = ["boot"]

_REFRESH = 0.01
"""Seconds between two looks at the console, the standard input and the clock."""
_QUEUE = 1024
"""Bytes that may wait in the serial port; the rest stays where it comes from until the guest has read some."""
_FOREVER = 1 << 62


@dataclass(frozen=True)
class _End:
    """How a run ended: in a word or two, why, and the command's exit status."""

    how: str
    detail: str
    status: int
    code: int | None = None


class _Seconds(click.FloatRange):
    """A number of seconds, which "nan" is not: nothing is later than that."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


@click.command
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--cpus", type=click.IntRange(1, 255), default=1, show_default=True, help="How many CPUs.")
@click.option("--mem", metavar="SIZE", default="128M", show_default=True, help="Memory: bytes, or with K, M or G.")
@click.option("--cmdline", metavar="S", default="", help="The image's command line.")
@click.option("--initrd", type=click.Path(path_type=Path), metavar="F", help="Initial RAM disk (not for multiboot).")
@click.option(
    "--module",
    "modules",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="F",
    help="A module of a multiboot image; its name becomes its command line. May be given several times.",
)
@click.option("--timeout", type=_Seconds(0), metavar="S", help="Stop after so many seconds of real time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; what the guest says is in it.")
@click.pass_context
def boot(
    context: click.Context,
    image: Path,
    cpus: int,
    mem: str,
    cmdline: str,
    initrd: Path | None,
    modules: tuple[Path, ...],
    timeout: float | None,
    as_json: bool,
) -> None:
    """Boot IMAGE alone on a machine: a Linux bzImage, an ELF64 executable or a multiboot image.

    The machine has CPUs with local APICs, memory and a serial port at 0x3F8; that port writes to standard output and
    reads standard input. There are no other devices, and no firmware: a port with nothing behind it reads as ones,
    an address as zeros. Ctrl-C stops it.

    \b
    The last line, on standard error, and the exit status say how it ended:
      0    halted: every CPU waits, and nothing can wake one
      odd  a byte V was written to port 0xF4: V * 2 + 1, as QEMU has it
      2    the image or an option cannot be used
      4    a CPU shut down (a triple fault), which resets the platform
      6    the platform was reset through a port
      124  the time of --timeout is over
      130  Ctrl-C
      143  SIGTERM
    """  # noqa: D301 (click's mark for a paragraph that is not to be wrapped)
    from mklab.errors import MklabError
    from mklab.kernel import bootloader

    def fail(reason: str) -> NoReturn:
        click.echo(f"mklab boot: {reason}", err=True)
        context.exit(2)

    try:
        memory = _memory(mem)
    except ValueError as error:
        fail(f"--mem: {error}")
    name = click.format_filename(image)
    try:
        data = _read(image, memory)
        machine = bootloader.boot(
            data,
            cpus=cpus,
            memory=memory,
            cmdline=cmdline,
            initrd=_read(initrd, memory) if initrd else b"",
            modules=[(_read(module, memory), click.format_filename(module)) for module in modules],
            name=name,
        )
    except OSError as error:
        where = f"--mem {mem}" if error.filename is None else click.format_filename(error.filename)
        fail(f"{where}: {error.strerror or error}")
    except (MklabError, ValueError) as error:
        fail(f"{name}: {error}")

    console, terminal = bytearray(), Output()
    end = _run(machine, timeout, console.extend if as_json else terminal.write)
    if as_json:
        description = _describe(machine, end, bytes(console))
        click.echo(json.dumps({"file": name, "memory": memory, **description}, indent=2))
    if not terminal.line_ended:
        click.echo(err=True)
    click.echo(f"mklab boot: {end.how}: {end.detail}", err=True)
    context.exit(end.status)


def _memory(text: str) -> int:
    """``--mem`` in bytes.

    Raises:
        ValueError: no such size, or a machine cannot have so much or so little.
    """
    from mklab.kernel.bootloader import memory_map
    from mklab.kernel.command_line import memparse

    size = memparse(text)
    if size is None or size[1]:
        raise ValueError(f"SIZE must be a number of bytes, or one with K, M or G behind it, not {text!r}")
    memory_map(size[0])
    return size[0]


def _read(file: Path, most: int) -> bytes:
    """The bytes of a file that is to go into ``most`` bytes of memory.

    Raises:
        ImageError: it cannot.
        OSError: it cannot be read.
    """
    from mklab.errors import ImageError

    if not file.is_file():
        file.stat()
        raise ImageError(f"{click.format_filename(file)} is {'a directory' if file.is_dir() else 'no regular file'}")
    if file.stat().st_size > most:
        raise ImageError(f"{click.format_filename(file)} is larger than the machine's memory")
    return file.read_bytes()


def _run(machine: "Machine", timeout: float | None, write: Callable[[bytes], object]) -> _End:
    """Let the machine run to its end, its serial port connected to ``write`` and to standard input."""
    with termination() as terminated:
        try:
            with standard_input() as read:
                return _connected(machine, timeout, write, read)
        except KeyboardInterrupt:
            _show(machine, write)
            if terminated.asked:
                return _End("terminated", f"SIGTERM; {_progress(machine)}", 128 + signal.SIGTERM)
            return _End("interrupted", f"Ctrl-C; {_progress(machine)}", 130)


def _connected(
    machine: "Machine", timeout: float | None, write: Callable[[bytes], object], read: Callable[[int], bytes]
) -> _End:
    from mklab.kernel.bootloader import KERNEL

    started = time.monotonic()
    while True:
        room = _QUEUE - machine.board.console(KERNEL).waiting
        data = read(room) if room > 0 else b""
        if data:
            machine.console_input(KERNEL, data)
        stop = machine.run(_FOREVER, _until(time.monotonic() + _REFRESH))
        events = _show(machine, write)
        if stop.reason in ("idle", "exit", "reset"):
            return _ended(stop, events)
        if timeout is not None and time.monotonic() - started >= timeout:
            return _End("limit", f"the {timeout:g} s of --timeout are over; {_progress(machine)}", 124)


def _until(at: float) -> Callable[["Machine"], bool]:
    return lambda _: time.monotonic() >= at


def _show(machine: "Machine", write: Callable[[bytes], object]) -> list["Event"]:
    """Write what was printed since the last time; the events are not kept, or a long run would fill the memory."""
    from mklab.trace import ConsoleByte

    events, machine.trace.events = machine.trace.events, []
    data = bytes(event.byte for event in events if isinstance(event, ConsoleByte))
    if data:
        write(data)
    return events


def _ended(stop: "Stop", events: list["Event"]) -> _End:
    """What a stop of the machine is called here; ``events`` are the last ones."""
    from mklab.trace import PlatformReset, Shutdown

    if stop.reason == "exit":
        assert stop.code is not None
        return _End(f"exit code {stop.code}", stop.detail, stop.code & 0xFF, stop.code)
    if stop.reason == "idle":
        return _End("halted", stop.detail, 0)
    down = [event for event in events if isinstance(event, Shutdown)]
    if down:
        return _End("CPU shut down", f"CPU {down[-1].cpu}: {down[-1].why}; that resets the platform", 4)
    causes = [event.why for event in events if isinstance(event, PlatformReset)]
    return _End("platform reset", causes[-1], 6)


def _progress(machine: "Machine") -> str:
    """How far it came."""
    places = [
        f"CPU {cpu.index} {cpu.state} at {machine.registers(cpu.index).linear_rip:#x} in {cpu.mode} mode"
        for cpu in machine.cpus
        if cpu.state != "wait-for-SIPI"
    ]
    waiting = len(machine.cpus) - len(places)
    more = [f"{len(places) - 4} CPUs more"] if len(places) > 4 else []
    more += [f"{waiting} in wait-for-SIPI"] if waiting else []
    return f"{machine.time:,} instructions; {', '.join(places[:4] + more)}"


def _describe(machine: "Machine", end: _End, console: bytes) -> dict[str, Any]:
    """The run as plain data; bytes of the console that are no UTF-8 become their hexadecimal escapes."""
    return {
        "stopped": end.how.partition(" code")[0],
        "detail": end.detail,
        "exit_code": end.code,
        "status": end.status,
        "instructions": machine.time,
        "cpus": [
            {"state": str(cpu.state), "mode": cpu.mode, "address": machine.registers(cpu.index).linear_rip}
            for cpu in machine.cpus
        ],
        "console": console.decode("utf-8", "backslashreplace"),
    }
