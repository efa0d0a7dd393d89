"""Takes the answers out of a notebook that nobody trusts: ``python -m mklab.lab.grading.reader``.

It limits itself, reads the notebook from standard input, and writes one line of JSON: its answers, or why there are
none. Nothing of the notebook is executed, and its outputs are not looked at.
"""

import json
import re
import sys
from typing import Any

from mklab.lab.checking.limits import Limits, impose

__all__ = ["LARGEST", "LONGEST", "answers", "main"]

LARGEST = 64 << 20
"""Bytes of a notebook."""
LONGEST = 256 << 10
"""Characters of an answer."""
_LIMITS = Limits(memory=512 << 20, file_size=0, seconds=10, readable=())

_MAGIC = re.compile(r"%%(?:answer|asm|c)[ \t]+(\d\d\.\d+)[ \t]*(?:\n|$)")
_ID = re.compile(r"\d\d\.\d+")
_NAME = re.compile(
    r"""\blab\.open\(\s*["'][^"'\n]*["']\s*,\s*(?:student\s*=\s*)?(?:"([^"\n]{1,200})"|'([^'\n]{1,200})')"""
)


def answers(data: bytes) -> dict[str, Any]:
    """The answers in a notebook.

    Args:
        data: the file.

    Returns:
        ``answers``: exercise and text of each cell that answers one, in their order; ``student``: the name that the
        notebook gives to ``lab.open``, or null. Or ``problem``: why it cannot be read.
    """
    try:
        notebook = json.loads(data)
    except UnicodeDecodeError:
        return {"problem": "is no notebook: its text is not in UTF-8"}
    except (ValueError, RecursionError):
        return {"problem": "is no notebook: it is no JSON"}
    except MemoryError:
        return {"problem": "is no notebook that can be read: it needs too much memory"}
    if not isinstance(notebook, dict) or not isinstance(notebook.get("nbformat"), int):
        return {"problem": "is no notebook: it is JSON, but of something else"}
    if not isinstance(notebook.get("cells"), list):
        return {"problem": f"is a notebook of format {notebook['nbformat']}, not 4: open it in JupyterLab and save it"}
    found, student = [], None
    for cell in notebook["cells"]:
        text = _text(cell)
        if text is None:
            continue
        name = _NAME.search(text)
        student = (name[1] or name[2]) if name else student
        exercise = _exercise(cell, text)
        if exercise is not None:
            found.append((exercise, text[: LONGEST + 1]))
    return {"answers": found, "student": student}


def _text(cell: object) -> str | None:
    """The text of a cell of code; None: it is none."""
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        return None
    # JSON can hold halves of characters, which no file can.
    return source.encode("utf-8", "replace").decode().lstrip("\n")


def _exercise(cell: dict[str, Any], text: str) -> str | None:
    """Which exercise a cell answers: what its first line says, as in the notebook; else what it was built as."""
    if magic := _MAGIC.match(text):
        return magic[1]
    metadata = cell.get("metadata")
    own = metadata.get("mklab") if isinstance(metadata, dict) else None
    built = own.get("exercise") if isinstance(own, dict) else None
    return built if isinstance(built, str) and _ID.fullmatch(built) else None


def main() -> None:
    """Read one notebook."""
    impose(_LIMITS)
    data = sys.stdin.buffer.read(LARGEST + 1)
    told = {"problem": f"is larger than {LARGEST >> 20} MiB"} if len(data) > LARGEST else answers(data)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
