"""The README's example runs, and does what the README says."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_example_boots_a_second_kernel(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    example, output = re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL)[:2]
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == output
