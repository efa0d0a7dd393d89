#!/bin/sh
# Finds a Python that mklab runs on, and makes the environment with it (tools/setup.py).
# $PYTHON, where set, is the only one tried: whoever names a Python wants that one or none.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
# Old Pythons must be able to read this: no syntax that is newer than Python 2.
check='import sys; sys.stdout.write(".".join(map(str, sys.version_info[:3]))); sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3 python3.13 python3.12 python3.11
fi
seen=""
for python in "$@"; do
    if ! command -v "$python" >/dev/null 2>&1; then
        continue
    fi
    if version=$("$python" -c "$check" 2>/dev/null); then
        exec "$python" "$root/tools/setup.py"
    fi
    # A pyenv shim exists for versions that are not in use as well; it then says no version.
    seen="$seen${version:+$python $version, }"
done
echo "setup: mklab needs Python 3.11, 3.12 or 3.13, but found ${seen:-none by the name of $*, }so" \
    "install one (Debian, Ubuntu: apt-get install python3; macOS: brew install python@3.12)" \
    "or name one: make setup PYTHON=/path/to/python3.12" >&2
exit 1
