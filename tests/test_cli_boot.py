"""`mklab boot` as a process: its streams, its last line, its exit status, and that it never hangs."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mklab.cli_boot import boot
from tests.kernel.boot_image import bzimage, elf64, multiboot

DEADLINE = 120
"""Seconds after which a process hangs; a run takes two, on an idle machine."""


@pytest.fixture
def image(tmp_path: Path) -> Callable[[bytes], str]:
    """A function that writes an image's bytes to a file and returns its path."""

    def write(data: bytes) -> str:
        file = tmp_path / "image"
        file.write_bytes(data)
        return str(file)

    return write


def run(*arguments: str) -> Result:
    return CliRunner().invoke(boot, arguments)


def last_line(result: Result) -> str:
    return result.stderr.splitlines()[-1]


class TestEnds:
    def test_exit_code(self, image: Callable[[bytes], str]) -> None:
        result = run(image(multiboot("leave")))
        assert (result.stdout, result.exit_code) == ("x", 33)
        assert result.stderr == "\nmklab boot: exit code 33: CPU 0 wrote 0x10 to the debug exit at port 0xf4\n"

    @pytest.mark.parametrize("data", [elf64("told"), bzimage("told")], ids=["ELF64", "bzImage"])
    def test_halted(self, data: bytes, image: Callable[[bytes], str], tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.write_bytes(b"\xffdisk\0")
        result = run(image(data), "--cmdline", "a b", "--initrd", str(disk), "--mem", "64M")
        assert (result.stdout_bytes, result.exit_code) == (b"a b|\xffdisk\0\n", 0)
        assert result.stderr == "mklab boot: halted: every CPU waits and nothing can wake one\n"

    def test_a_command_line_that_is_no_text(self, image: Callable[[bytes], str]) -> None:
        """As it was typed: Python hands over bytes that are no UTF-8 as surrogates (PEP 383)."""
        for data, told in ((elf64("told"), b"a\xff|\n"), (multiboot("multiboot_told"), b" a\xff\n")):
            assert run(image(data), "--cmdline", "a\udcff").stdout_bytes.endswith(told)

    def test_shut_down(self, image: Callable[[bytes], str]) -> None:
        result = run(image(multiboot("triple_fault")))
        assert (result.stdout, result.exit_code) == ("\n", 4)
        assert last_line(result).startswith("mklab boot: CPU shut down: CPU 0: triple fault at 0x")
        assert last_line(result).endswith("; that resets the platform")

    def test_reset(self, image: Callable[[bytes], str]) -> None:
        result = run(image(multiboot("reset")))
        assert (result.stdout, result.exit_code) == ("r", 6)
        assert last_line(result) == "mklab boot: platform reset: CPU 0 wrote 0x6 to port 0xcf9"

    def test_limit(self, image: Callable[[bytes], str]) -> None:
        result = run(image(multiboot("spin")), "--timeout", "0.2", "--cpus", "6")
        assert (result.stdout, result.exit_code) == ("s", 124)
        assert last_line(result).startswith("mklab boot: limit: the 0.2 s of --timeout are over; ")
        assert "instructions; CPU 0 running at 0x1000" in last_line(result)
        assert last_line(result).endswith(" in protected mode, 5 in wait-for-SIPI")

    def test_modules_and_several_cpus(self, image: Callable[[bytes], str], tmp_path: Path) -> None:
        file = tmp_path / "module"
        file.write_bytes(b"contents")
        name = image(multiboot("multiboot_told"))
        result = run(name, "--cmdline", "c", "--module", str(file), "--module", str(file))
        assert result.stdout == f"{name} c\n" + f"{file}=contents\n" * 2
        assert run(image(multiboot("smp")), "--cpus", "2").stdout == "0100000000\n"


class TestJson:
    def test_a_run(self, image: Callable[[bytes], str]) -> None:
        name = image(multiboot("leave"))
        result = run(name, "--json", "--cpus", "2", "--mem", "0x1000000")
        told = json.loads(result.stdout)
        assert result.exit_code == told["status"] == told["exit_code"] == 33
        assert result.stderr == f"mklab boot: exit code 33: {told['detail']}\n"
        assert (told["file"], told["memory"], told["stopped"], told["console"]) == (name, 1 << 24, "exit", "x")
        assert [cpu["state"] for cpu in told["cpus"]] == ["running", "wait-for-SIPI"]

    def test_bytes_that_are_no_text(self, image: Callable[[bytes], str], tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.write_bytes("\xe4".encode() + b"\xff")
        result = run(image(elf64("told")), "--json", "--initrd", str(disk))
        assert json.loads(result.stdout)["console"] == "|\xe4\\xff\n"
        assert json.loads(result.stdout)["exit_code"] is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "options", "reason"),
        [
            (b"#!/bin/sh\n", [], "{file}: neither a little-endian ELF64 file nor .*, but a script"),
            (bzimage("told")[:-1], [], "{file}: truncated bzImage.*"),
            (elf64("leave"), ["--module", "{file}"], "{file}: an ELF64 file takes an initrd, and no modules"),
            (multiboot("leave"), ["--initrd", "{file}"], "{file}: a multiboot image takes modules, and no initrd"),
            (elf64("leave"), ["--initrd", "{file}x"], "{file}x: No such file or directory"),
            (multiboot("leave"), ["--module", "{folder}"], "{file}: {folder} is a directory"),
            (multiboot("leave"), ["--mem", "many"], "--mem: SIZE must be a number .*, not 'many'"),
            (multiboot("leave"), ["--mem", "-1"], "--mem: SIZE must be a number .*, not '-1'"),
            (
                multiboot("leave"),
                ["--mem", "1K"],
                "--mem: the memory must be 2097152 to 68719476736 bytes .*, not 1024",
            ),
            (multiboot("leave"), ["--mem", "100T"], "--mem: the memory must be .*, not 109951162777600"),
            (multiboot("leave"), ["--mem", "4000001"], "--mem: the memory must be whole pages .*, not 4000001"),
            (elf64("leave", base=64 << 20), ["--mem", "16M"], "{file}: add_segment: -EADDRNOTAVAIL: .*"),
            (elf64("leave"), ["--cmdline", "x" * 2048], "{file}: elf_x86_64_load: -EINVAL: .*"),
        ],
    )
    def test_one_line(
        self, data: bytes, options: list[str], reason: str, image: Callable[[bytes], str], tmp_path: Path
    ) -> None:
        names = {"file": image(data), "folder": str(tmp_path)}
        result = run(names["file"], *(option.format(**names) for option in options))
        assert (result.stdout, result.exit_code) == ("", 2)
        (line,) = result.stderr.splitlines()
        head, _, tail = reason.partition(".*")
        assert line.startswith("mklab boot: " + head.format(**names))
        assert line.endswith(tail.format(**names))

    @pytest.mark.parametrize(
        ("file", "reason"),
        [("missing", "missing: No such file or directory"), (".", "is a directory"), ("/dev/zero", "no regular file")],
    )
    def test_what_is_no_file(self, file: str, reason: str, tmp_path: Path) -> None:
        result = run(str(tmp_path / file))
        assert (result.stdout, result.exit_code) == ("", 2)
        (line,) = result.stderr.splitlines()
        assert line.endswith(reason)

    def test_a_file_larger_than_memory_is_not_read(self, tmp_path: Path) -> None:
        file = tmp_path / "sparse"
        with file.open("wb") as stream:
            stream.truncate(1 << 40)
        assert run(str(file)).stderr.splitlines() == [
            f"mklab boot: {file}: {file} is larger than the machine's memory",
        ]

    @pytest.mark.parametrize(
        "option", [["--cpus", "0"], ["--cpus", "256"], ["--timeout", "-1"], ["--timeout", "nan"], []]
    )
    def test_usage(self, option: list[str], image: Callable[[bytes], str]) -> None:
        assert run(*([image(multiboot("leave"))] if option else []), *option).exit_code == 2


class TestStreams:
    """In a process of its own, with real streams."""

    @pytest.fixture
    def start(self, mklab_command: Path) -> Callable[..., "subprocess.Popen[bytes]"]:
        """A function that starts `mklab boot` on an image."""

        def start(file: str, stdin: int = subprocess.DEVNULL, **options: Any) -> "subprocess.Popen[bytes]":
            return subprocess.Popen(
                [mklab_command, "boot", file, "--timeout", str(DEADLINE)],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **options,
            )

        return start

    def test_a_pipe(self, image: Callable[[bytes], str], start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
        process = start(image(multiboot("echo")), stdin=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\x00")
        process.stdin.flush()
        assert process.stdout.read(1) == b"\x01", "before the next byte arrives, and before the end"
        assert process.communicate(b"\xfe\nab.", timeout=DEADLINE)[0] == b"\xff\x0bbc"
        assert process.returncode == 5 * 2 + 1

    def test_a_file_larger_than_the_queue(
        self, image: Callable[[bytes], str], start: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
    ) -> None:
        data = tmp_path / "data"
        data.write_bytes(b"abcdefgh" * 400 + b".")
        with data.open("rb") as stream:
            process = start(image(multiboot("echo")), stdin=stream.fileno())
        assert process.communicate(timeout=DEADLINE)[0] == b"bcdefghi" * 400

    @pytest.mark.parametrize("controlling", [True, False])
    def test_a_terminal(
        self, controlling: bool, image: Callable[[bytes], str], start: Callable[..., "subprocess.Popen[bytes]"]
    ) -> None:
        """Each key at once, not echoed by the terminal; and the terminal is as it was afterwards."""
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs)
        process = start(
            image(multiboot("echo")),
            stdin=theirs,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)) if controlling else None,
        )
        assert process.stdout is not None
        os.write(ours, b"a")
        assert process.stdout.read(1) == b"b"
        assert not termios.tcgetattr(theirs)[3] & (termios.ECHO | termios.ICANON)
        os.write(ours, b"." if controlling else b"a.")
        process.communicate(timeout=DEADLINE)
        assert process.returncode == (3 if controlling else 5)
        assert termios.tcgetattr(theirs) == before
        os.close(ours)
        os.close(theirs)

    def test_ctrl_c(self, image: Callable[[bytes], str], start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
        # Python's own again, should these tests run in the background, where SIGINT is ignored.
        process = start(
            image(multiboot("spin")),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert process.stdout is not None
        assert process.stdout.read(1) == b"s"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 130
        lines = errors.decode().splitlines()
        assert lines[-1].startswith("mklab boot: interrupted: Ctrl-C; ")
        assert "Traceback" not in errors.decode()

    @pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
    def test_sigterm_leaves_the_terminal_as_it_was(
        self, ctrl_c: Any, image: Callable[[bytes], str], start: Callable[..., "subprocess.Popen[bytes]"]
    ) -> None:
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs)
        process = start(
            image(multiboot("spin")),
            stdin=theirs,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, ctrl_c),
        )
        assert process.stdout is not None
        assert process.stdout.read(1) == b"s"
        assert termios.tcgetattr(theirs) != before
        process.terminate()
        _, errors = process.communicate(timeout=DEADLINE)
        assert termios.tcgetattr(theirs) == before
        assert (process.returncode, errors.decode().splitlines()[-1][:33]) == (143, "mklab boot: terminated: SIGTERM; ")
        os.close(ours)
        os.close(theirs)

    def test_a_host_without_termios(self, image: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
        """As on Windows: it boots, and says what it does not do."""
        monkeypatch.setitem(sys.modules, "termios", None)
        result = run(image(multiboot("leave")))
        assert (result.stdout, result.exit_code) == ("x", 33)
        assert result.stderr.splitlines()[0] == (
            "mklab boot: standard input is not read: that needs termios, which this host does not have"
        )
        code = "import sys; sys.modules.update(termios=None, tty=None, fcntl=None); import mklab.cli"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=DEADLINE)

    def test_a_reader_that_goes_away(
        self, image: Callable[[bytes], str], start: Callable[..., "subprocess.Popen[bytes]"]
    ) -> None:
        process = start(image(multiboot("echo")), stdin=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"a" * 10)
        process.stdin.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
        process.stderr.close()
        assert process.wait(DEADLINE) == 1

    def test_closed_streams(self, image: Callable[[bytes], str], mklab_command: Path) -> None:
        line = f"{mklab_command} boot {image(multiboot('leave'))} <&- >&-"
        done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, timeout=DEADLINE, check=False)
        assert (done.returncode, done.stderr.count(b"\n")) == (33, 2)
