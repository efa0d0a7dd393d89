"""The compiler of cells in assembly and C: ``python -m mklab.lab.checking.compiler ARGUMENTS``.

It limits itself, then becomes zig. A cell may name any file, by ``.incbin``, ``#include`` or a macro that no filter
sees through; all that is there to be read is the compiler's own, and the folder in which it was started.
"""

import importlib.util
import os
import sys
from pathlib import Path

from mklab.lab.checking.limits import Limits, impose

__all__ = ["main"]

_SECONDS = 2
_MEMORY = 768 << 20
_FILE = 32 << 20


def main() -> None:
    """Become the compiler; the folder it works in is the current one."""
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        sys.exit("No module named ziglang")
    zig, folder = Path(found.origin).parent, str(Path.cwd())
    # It keeps its caches where the cell's files are, and they go with them.
    own = {"TMPDIR": folder, "HOME": folder, "ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder, "PATH": ""}
    impose(Limits(_MEMORY, _FILE, _SECONDS, [str(zig), "/dev/null"], folder, processes=True))
    os.execve(zig / "zig", [str(zig / "zig"), *sys.argv[1:]], own)


if __name__ == "__main__":
    main()
