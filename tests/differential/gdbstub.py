"""QEMU with a kernel of its own boot loader's (``-kernel``), stopped at an address and looked at through its gdbstub.

The GDB Remote Serial Protocol on a connected socket: a breakpoint, registers and memory are all that is needed.
"""

import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Stopped", "stopped_at"]

_DEADLINE = 60
"""Seconds that QEMU may be silent for; the firmware and a boot loader take about one, on an idle machine."""
_AT_ONCE = 0x400
_REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp")
"""The first that GDB's protocol has for x86-64, 8 bytes each."""


class Stopped:
    """QEMU, stopped at a breakpoint."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def _receive(self) -> str:
        """The next packet: ``$``, what it says, ``#`` and two digits of a checksum."""
        data = b""
        while b"#" not in data or len(data) < data.index(b"#") + 3:
            piece = self._connection.recv(1 << 16)
            assert piece, f"QEMU ended; the last it said was {data!r}"
            data += piece
        self._connection.sendall(b"+")
        return data[data.index(b"$") + 1 : data.index(b"#")].decode("ascii")

    def execute(self, command: str) -> str:
        """Send a command and return the answer."""
        data = command.encode("ascii")
        self._connection.sendall(b"$%s#%02x" % (data, sum(data) & 0xFF))
        answer = self._receive()
        assert not answer.startswith("E"), f"{command}: {answer}"
        return answer

    def memory(self, paddr: int, size: int) -> bytes:
        """``size`` bytes from ``paddr``; the CPU must have no paging, or map them to themselves."""
        return b"".join(
            bytes.fromhex(self.execute(f"m{at:x},{min(_AT_ONCE, paddr + size - at):x}"))
            for at in range(paddr, paddr + size, _AT_ONCE)
        )

    def registers(self) -> dict[str, int]:
        """Eight general registers."""
        values = struct.unpack_from("<8Q", bytes.fromhex(self.execute("g")))
        return dict(zip(_REGISTERS, values, strict=True))


@contextmanager
def stopped_at(qemu: Path, address: int, arguments: Sequence[str], folder: Path) -> Iterator[Stopped]:
    """QEMU as it comes to execute ``address`` for the first time.

    Raises:
        TimeoutError: it does not come there within the deadline.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, (folder / "qemu.log").open("w+") as log:
        ours.settimeout(_DEADLINE)
        gdb = ["-chardev", f"socket,id=gdb,fd={theirs.fileno()}", "-gdb", "chardev:gdb", "-S"]
        machine = ["-accel", "tcg", "-cpu", "Nehalem", "-nodefaults", "-display", "none", "-no-reboot"]
        process = subprocess.Popen(
            [qemu, *machine, *arguments, *gdb],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        theirs.close()
        try:
            stopped = Stopped(ours)
            # A hardware breakpoint: one in software would be overwritten when the kernel is loaded.
            assert stopped.execute(f"Z1,{address:x},1") == "OK"
            stop = stopped.execute("c")
            assert stop.startswith("T05"), stop
            yield stopped
        except (AssertionError, OSError) as error:
            log.seek(0)
            error.add_note(f"QEMU says: {log.read() or 'nothing'}")
            raise
        finally:
            process.kill()
            process.wait()
