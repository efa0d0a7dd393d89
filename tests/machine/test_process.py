"""A call as plain data."""

import json

from mklab.machine.process import Call


def test_it_is_plain_data() -> None:
    call = Call("kexec_load", 1, "copy", {"entry": 5}, wake=9, result=-22, errno=22, reason="no")
    assert Call(**json.loads(json.dumps(call.to_dict()))) == call


def test_it_is_done_when_it_has_no_next_step() -> None:
    assert not Call("cpu_up", 0, "check").done
    assert Call("cpu_up", 0, "").done
