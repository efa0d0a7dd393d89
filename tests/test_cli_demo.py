"""`mklab demo`: the whole scenario from the command line."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest


def run(command: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, "demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100", **environment},
    )


@pytest.fixture(scope="module")
def report(mklab_command: Path) -> dict[str, Any]:
    done = run(mklab_command, "--json")
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_json(report: dict[str, Any]) -> None:
    assert [(cpu["cpu"], cpu["apic_id"], cpu["owner"], cpu["mode"], cpu["state"]) for cpu in report["cpus"]] == [
        (0, 0, "host", "long", "halted"),
        (1, 1, "host", "long", "halted"),
        (2, 2, "kernel 1", "long", "halted"),
        (3, 3, "host", "long", "halted"),
    ]
    assert [(image["type"], image["start"], image["segments"][0]["mem"]) for image in report["kimages"]] == [
        ("multikernel", 0x2000000, 0x2000000)
    ]
    messages = [(m["from_cpu"], m["to_cpu"], m["type"], m["size"], m["vector"]) for m in report["messages"]]
    assert messages == [(0, 2, 1, 4, 0xEA), (2, 0, 2, 4, 0xEA)]
    assert "kernel 1 up, boot_params at 0x13000\n" in report["console"]["kernel 1"]
    assert report["console"]["host"].endswith("host: answer from CPU 2: ping\n")


def test_ten_processes_give_one_trace(mklab_command: Path, report: dict[str, Any]) -> None:
    hashes = {json.loads(run(mklab_command, "--json", PYTHONHASHSEED=str(i)).stdout)["trace_sha256"] for i in range(10)}
    assert hashes == {report["trace_sha256"]}


@pytest.mark.parametrize("cpus", [2, 64])
def test_other_sizes(mklab_command: Path, cpus: int) -> None:
    answer = json.loads(run(mklab_command, "--json", "--cpus", str(cpus)).stdout)
    assert [cpu["owner"] for cpu in answer["cpus"]].count("kernel 1") == 1
    assert len(answer["cpus"]) == cpus
    assert len(answer["messages"]) == 2


def test_told_in_the_terminal(mklab_command: Path, report: dict[str, Any]) -> None:
    text = run(mklab_command).stdout
    assert "CPU 2 is now offline" in text
    assert "SIPI 0x96 from CPU 0: real mode at 0x96000" in text
    assert "enters kernel 1 at 0x2000000" in text
    assert "finds type 1 from CPU 0 in its slot: 'ping'" in text
    assert report["trace_sha256"] in text
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize("cpus", ["1", "65", "-3", "many"])
def test_a_number_that_will_not_do(mklab_command: Path, cpus: str) -> None:
    done = run(mklab_command, "--cpus", cpus)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "'--cpus'" in done.stderr.splitlines()[-1]
