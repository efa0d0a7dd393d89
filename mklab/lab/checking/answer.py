"""What a student wrote, as a check sees it."""

import json
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mklab
from mklab.errors import KexecError, MklabError
from mklab.lab.checking import wire
from mklab.lab.checking.candidate import CELL
from mklab.lab.checking.peer import Peer

__all__ = ["UNLIMITED", "Answer", "AnswerError", "Offer", "readable"]

_SECONDS = 2
"""Of the processor's time: seconds of a clock would make a slow computer a wrong answer."""
_WAIT, _IDLE = 50.0, 10.0
"""Of a clock, for all that it makes others wait; and for an answer that only sleeps."""
_BEGIN = 50.0
"""Of a clock, for the process to begin, on a computer that is busy."""
_MEMORY = 512 << 20
_FILE = 1 << 20
_ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""NumPy takes memory for every processor that it might use."""
_MOST_ASKED = 20_000

UNLIMITED: list[str] = []
"""What could not be limited in the candidates of this process so far."""


class AnswerError(MklabError):
    """The answer's code did not come to an end as code should.

    Attributes:
        kind: ``raised``, ``endless``, ``died`` or ``strange`` (what it gave is no plain data).
        type: the exception's type; empty where there is none.
        line: number of the line of the cell, or None.
        cause: what an offered object raised, where the answer let that pass.
    """

    def __init__(self, kind: str, text: str, type: str = "", line: int | None = None) -> None:  # noqa: A002
        self.kind, self.type, self.line = kind, type, line
        self.cause: Exception | None = None
        super().__init__(text)

    def where(self, source: str) -> str:
        """The line of ``source`` at which it happened, in words; empty where that is not known."""
        lines = source.splitlines()
        if self.line is None or not 0 < self.line <= len(lines):
            return ""
        return f"line {self.line} of your cell: {lines[self.line - 1].strip()}"


class Offer:
    """Something that an answer's function is given, and what of it may be used.

    Args:
        thing: the object.
        allowed: names of its methods and attributes, with dots for parts of parts: ``memory.read``.
    """

    def __init__(self, thing: Any, allowed: Iterable[str]) -> None:
        self.thing = thing
        self.allowed = frozenset(allowed)

    def is_part(self, path: str) -> bool:
        """Whether something allowed lies below ``path``."""
        return any(name.startswith(f"{path}.") for name in self.allowed)


class Answer:
    """An answer: the source of a cell. Its Python runs in a process of its own, which begins when it is first needed.

    Args:
        source: the cell's text, without its first line where that is a magic.
        prelude: Python that comes before it: what the notebook has imported.

    Attributes:
        source: as given.
    """

    def __init__(self, source: str, prelude: str = "") -> None:
        self.source = source
        self._prelude = prelude
        self._process: subprocess.Popen[bytes] | None = None
        self._peer: Peer | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._names: list[str] = []
        self._offers: Mapping[str, Offer] = {}
        self._refusal: Exception | None = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def close(self) -> None:
        """End the process, and remove what it wrote."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def value(self, name: str) -> Any:
        """What the cell has assigned to ``name``.

        Raises:
            AnswerError: the cell's code failed, or it has no such name, or that is no plain data.
        """
        return self._request({"value": name}, name)

    def call(self, name: str, *args: Any, **offers: Offer) -> Any:
        """Call a function of the cell.

        Args:
            name: the function's.
            args: plain data; where a text names one of ``offers`` as ``wire.Reference(name)``, the offered object.
            offers: what may be used while it runs; those that no argument names come after ``args``, in order.

        Raises:
            AnswerError: the cell's code failed, or it has no such function, or what it returned is no plain data.
        """
        self._offers = offers
        named = {arg.name for arg in args if isinstance(arg, wire.Reference)}
        given = [*args, *(wire.Reference(one) for one in offers if one not in named)]
        try:
            return self._request({"call": name, "args": [wire.encode(one) for one in given]}, name)
        finally:
            self._offers = {}

    # Talking with the candidate

    def _request(self, message: dict[str, Any], name: str) -> Any:
        if self._process is None:
            self._load()
        if name not in self._names:
            raise AnswerError("raised", f"the cell defines no {name!r}", "NameError")
        return self._exchange(message)

    def _load(self) -> None:
        try:
            self._begin()
        except AnswerError as error:
            # Nothing of the cell has run.
            raise MklabError(f"the process for an answer did not begin: {error}") from None
        try:
            names = self._exchange({"load": self.source, "prelude": self._prelude})
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise AnswerError("died", "its process sent something that makes no sense")
            self._names = names
        except AnswerError:
            self.close()
            raise

    def _begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mklab-answer-", ignore_cleanup_errors=True)
        limits = {
            "seconds": _SECONDS,
            "memory": _MEMORY,
            "file_size": _FILE,
            "readable": [*readable(), self._folder.name],
        }
        package = Path(mklab.__file__).parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mklab.lab.checking.candidate", json.dumps(limits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder.name,
            env={"PYTHONPATH": str(package), "PYTHONHASHSEED": "0", "HOME": self._folder.name, "PATH": "", **_ALONE},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._peer = Peer(
            self._process.stdin.fileno(), self._process.stdout.fileno(), self._process.pid, _BEGIN, _BEGIN
        )
        missing = [str(one) for one in self._receive().get("missing", ())]
        self._peer.left, self._peer.idle = _WAIT, _IDLE
        UNLIMITED.extend(one for one in missing if one not in UNLIMITED)

    def _exchange(self, message: dict[str, Any]) -> Any:
        """Send a request, answer what the candidate asks on the way, and return what it says in the end."""
        self._send(message)
        for _ in range(_MOST_ASKED):
            said = self._receive()
            match said:
                case {"value": value}:
                    return self._decoded(value)
                case {"raised": {"type": str(kind), "text": str(text), "line": int() | None as line}}:
                    raised = AnswerError("raised", text, kind, line)
                    if self._refusal is not None and kind in (type(self._refusal).__name__, "MklabError"):
                        raised.cause = self._refusal
                    raise raised
                case {"strange": str(text)}:
                    raise AnswerError("strange", text)
                case {"ask": ("get" | "call") as what, "path": str(path), "args": list(args), "kwargs": dict(kwargs)}:
                    self._send(self._serve(what, path, args, kwargs))
                case _:
                    raise AnswerError("died", "its process sent something that makes no sense")
        raise AnswerError("endless", f"it called the machine more than {_MOST_ASKED:,} times")

    def _decoded(self, value: Any) -> Any:
        try:
            return wire.decode(value, wire.Reference)
        except wire.WireError as error:
            raise AnswerError("strange", str(error)) from None

    def _serve(self, what: str, path: str, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Look up or call something that was offered."""
        root, *names = path.split(".")
        offer, name = self._offers.get(root), ".".join(names)
        if offer is None or not (name in offer.allowed or offer.is_part(name)):
            return {"raised": "AttributeError", "text": f"{root} offers no {name!r} in this exercise"}
        try:
            thing = offer.thing
            for one in names:
                thing = getattr(thing, one)
            if what == "call":
                thing = thing(
                    *(wire.decode(arg, wire.Reference) for arg in args),
                    **{key: wire.decode(arg, wire.Reference) for key, arg in kwargs.items()},
                )
            elif callable(thing):
                return {"method": path}
            elif offer.is_part(name):
                return {"object": path}
        except KexecError as error:
            self._refusal = error
            return {"raised": "KexecError", "errno": error.errno, "function": error.function, "text": error.reason}
        except (ValueError, TypeError, AttributeError, LookupError, MklabError, wire.WireError) as error:
            self._refusal = error
            return {"raised": type(error).__name__, "text": str(error.args[0]) if error.args else ""}
        try:
            return {"value": wire.encode(thing)}
        except wire.WireError:
            # What a kernel function returns besides plain data is of no use outside.
            return {"value": None}

    def _send(self, message: dict[str, Any]) -> None:
        assert self._peer is not None
        try:
            self._peer.send(message)
        except TimeoutError:
            raise self._idle() from None
        except OSError:
            raise self._death() from None

    def _receive(self) -> dict[str, Any]:
        assert self._peer is not None
        try:
            return self._peer.receive()
        except TimeoutError:
            raise self._idle() from None
        except EOFError:
            raise self._death() from None
        except wire.WireError as error:
            raise AnswerError("died", f"its process sent something that makes no sense: {error}") from None

    def _idle(self) -> AnswerError:
        assert self._peer is not None
        slept = self._peer.idle <= 0
        self.close()
        return AnswerError(
            "endless",
            f"it waited for {_IDLE:.0f} seconds and did nothing"
            if slept
            else f"it had not ended after {_WAIT:.0f} seconds",
        )

    def _death(self) -> AnswerError:
        """Why the candidate is gone."""
        assert self._process is not None
        _, errors = self._process.communicate()
        code = self._process.returncode
        self._process = None
        self.close()
        found = re.findall(rf'File "{re.escape(CELL)}", line (\d+)', errors.decode("utf-8", "replace"))
        line = int(found[0]) if found else None
        if code in (-getattr(signal, "SIGXCPU", 24), -signal.SIGKILL) and (line or code == -24):
            return AnswerError("endless", f"it ran for {_SECONDS} seconds of the processor's time", line=line)
        return AnswerError("died", f"its process ended by itself ({_ended(code)})", line=line)


def _ended(code: int) -> str:
    try:
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


def readable() -> list[str]:
    """What Python and mklab need to be imported: an answer can read it, and nothing else."""
    paths = {sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"], str(Path(mklab.__file__).parent)}
    paths |= {str(Path(path).resolve()) for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    return sorted({*paths, "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom"})
