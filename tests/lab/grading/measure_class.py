"""A class of 200, graded as an instructor would: ``python -m tests.lab.grading.measure_class [COUNT [LAB ...]]``.

Prints whether every verdict was right, how long it took, and how much memory was in use at most.
"""

import csv
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from mklab.lab.verdict import Outcome
from tests.lab.grading import classroom


def _memory(process: psutil.Process) -> tuple[int, int]:
    """Bytes that a process and all below it hold at this moment, and the largest share of one."""
    sizes = [0]
    for one in (process, *process.children(recursive=True)):
        try:
            sizes.append(one.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return sum(sizes), max(sizes)


def main(count: int, labs: list[str]) -> int:
    """Make the class, grade it, compare, and print."""
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        place, witness, folder = Path(name), Path(name) / "witness", Path(name) / "class"
        witness.write_text("SECRET")
        folder.mkdir()
        expected = classroom.make(folder, labs, witness, listener.getsockname()[1], count)
        command = [sys.executable, "-c", "from mklab.cli import main; main()", "grade", str(folder)]
        command += ["--csv", str(place / "grades.csv"), "--pages", str(place / "pages")]
        begun, most, largest = time.monotonic(), 0, 0
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while process.poll() is None:
            together, one = _memory(psutil.Process(process.pid))
            most, largest = max(most, together), max(largest, one)
            time.sleep(0.05)
        seconds = time.monotonic() - begun
        print(process.communicate()[0])
        with (place / "grades.csv").open(encoding="utf-8", newline="") as table:
            rows = {(row["student"], row["exercise"]): row for row in csv.DictReader(table)}
        wrong = {key: row for key, row in rows.items() if expected.get(key) != Outcome(row["outcome"])}
        unharmed = witness.read_text() == "SECRET"
        try:
            listener.accept()
            unharmed = False
        except BlockingIOError:
            pass
    for key, row in wrong.items():
        print("WRONG", *key, "expected", expected.get(key), "got", row["outcome"], row["reason"][:200])
    examined = sorted(float(row["seconds"]) for row in rows.values() if float(row["seconds"]))
    print(dict(Counter(row["outcome"] for row in rows.values())))
    print(f"{len(rows)} of {len(expected)} verdicts, {len(wrong)} wrong; the others unharmed: {unharmed}")
    print(f"{count} students in {seconds:.0f} s: {60 * count / seconds:.0f} students a minute")
    middle, last = examined[len(examined) // 2], examined[-1]
    print(f"{len(examined)} answers examined: median {middle:.1f} s, longest {last:.1f} s")
    print(f"memory at most: {most >> 20} MiB together, {largest >> 20} MiB in one process")
    return int(bool(wrong) or rows.keys() != expected.keys() or not unharmed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, sys.argv[2:] or ["00"]))
