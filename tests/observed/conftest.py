"""A host as the observed one: four CPUs, and memory for payloads at 256 MiB."""

import json

import pytest

from mklab.kernel.host import Host
from mklab.machine import state
from mklab.machine.machine import Machine
from tests.observed.reference import SPARSE_RAM, boot


@pytest.fixture(scope="session")
def booted() -> str:
    """The state of the machine once its host is up."""
    return json.dumps(state.state(boot().machine))


@pytest.fixture
def host(booted: str) -> Host:
    machine = Machine(4, ram=SPARSE_RAM)
    host = Host(machine)
    state.restore(machine, json.loads(booted))
    return host
