"""The process in which Python that a student wrote runs: ``python -m mklab.lab.checking.candidate``.

It limits itself first, then does what the examiner asks by its standard input: load a cell's source, say what a name
stands for, call a function. What the cell prints goes nowhere, and what it asks of an offered object is asked of the
examiner.
"""

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import IO, Any

from mklab.errors import KexecError, MklabError
from mklab.lab.checking import wire
from mklab.lab.checking.limits import Limits, impose

__all__ = ["CELL", "main"]

CELL = "<your cell>"
"""The file name of the student's code in tracebacks."""
_ERRORS: dict[str, Callable[[str], BaseException]] = {
    "ValueError": ValueError,
    "TypeError": TypeError,
    "AttributeError": AttributeError,
    "KeyError": KeyError,
    "MklabError": MklabError,
}


class _Offered:
    """Something of the examiner's: what is looked up or called is looked up or called there."""

    def __init__(self, ask: Callable[[str, list[Any], dict[str, Any]], Any], path: str) -> None:
        self._ask = ask
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("get", [f"{self._path}.{name}"], {})

    def __repr__(self) -> str:
        return f"<{self._path}>"


class _Method(_Offered):
    """A function of the examiner's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("call", [self._path, *args], kwargs)


class Candidate:
    """Talks with the examiner.

    Args:
        hears, says: the streams.
    """

    def __init__(self, hears: IO[bytes], says: IO[bytes]) -> None:
        self._hears, self._says = hears, says
        self._module = ModuleType("__main__")

    def serve(self) -> None:
        """Do what is asked, until nobody asks any more."""
        while True:
            try:
                message = wire.receive(self._hears)
            except EOFError:
                return
            wire.send(self._says, self._answer(message))

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            value = self._do(message)
        except BaseException as error:  # whatever a student's code raises is told, SystemExit too
            return {"raised": _told(error)}
        try:
            return {"value": wire.encode(value)}
        except wire.WireError as error:
            return {"strange": str(error)}

    def _do(self, message: dict[str, Any]) -> Any:
        match message:
            case {"load": str(source), "prelude": str(prelude)}:
                sys.modules["__main__"] = self._module
                exec(prelude, vars(self._module))  # noqa: S102  # the exercise's own
                exec(compile(source, CELL, "exec"), vars(self._module))  # noqa: S102  # this is what it is for
                return sorted(name for name in vars(self._module) if not name.startswith("__"))
            case {"value": str(name)}:
                return vars(self._module)[name]
            case {"call": str(name), "args": list(args)}:
                return vars(self._module)[name](*(wire.decode(arg, self._offered) for arg in args))
        raise wire.WireError(f"nobody can {message!r}")

    def _offered(self, path: str) -> _Offered:
        return _Offered(self._ask, path)

    def _ask(self, what: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Ask the examiner to look up or call something; raise what it raises."""
        path, *rest = args
        try:
            sent = {"ask": what, "path": path, "args": [wire.encode(arg) for arg in rest]}
            sent["kwargs"] = {name: wire.encode(value) for name, value in kwargs.items()}
        except wire.WireError as error:
            raise TypeError(f"{path} takes plain data: {error}") from None
        wire.send(self._says, sent)
        match wire.receive(self._hears):
            case {"method": str(found)}:
                return _Method(self._ask, found)
            case {"object": str(found)}:
                return self._offered(found)
            case {"value": value}:
                return wire.decode(value, self._offered)
            case {"raised": "KexecError", "errno": int(errno), "function": str(function), "text": str(text)}:
                raise KexecError(errno, function, text)
            case {"raised": str(kind), "text": str(text)}:
                raise _ERRORS.get(kind, MklabError)(text)
            case other:
                raise wire.WireError(f"the examiner said {other!r}")


def _told(error: BaseException) -> dict[str, Any]:
    """An exception of the student's code: its type, what it says, and the line of the cell it came from."""
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == CELL:
            line = frame.lineno
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return {"type": type(error).__name__, "text": text[:500], "line": line}


def main() -> None:
    """Run until the examiner has no more questions; the arguments are its limits (JSON)."""
    import json

    hears, says, last_words = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"), os.dup(2)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    faulthandler.enable(last_words)
    if hasattr(signal, "SIGXCPU"):
        # Before it dies of its limit, it says where it was: to the examiner alone.
        faulthandler.register(signal.SIGXCPU, last_words, all_threads=False, chain=True)
    missing = impose(Limits(**json.loads(sys.argv[1])))
    wire.send(says, {"missing": missing})
    Candidate(hears, says).serve()


if __name__ == "__main__":
    main()
