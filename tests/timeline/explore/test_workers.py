"""One process, several processes and a Dask cluster find the same."""

from types import ModuleType
from typing import Any

import pytest

from mklab.errors import MklabError
from mklab.timeline.explore import Exploration, explore

NAMES = ("mklab.lab.interleavings:ring_free_before_copy", "mklab.lab.interleavings:mailbox")


def found(result: Exploration) -> tuple[Any, ...]:
    """All but how long it took, and what each process had to learn by itself."""
    data = result.to_dict()
    for name in ("seconds", "performed", "statement"):
        del data["coverage"][name]
    return data, result.finals


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_find_what_one_finds(name: str) -> None:
    assert found(explore(name, processes=2)) == found(explore(name))


def test_a_cluster_finds_what_one_process_finds(distributed: ModuleType) -> None:
    local = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
    with distributed.LocalCluster(**local) as cluster:
        for name in NAMES:
            assert found(explore(name, dask=cluster.scheduler_address)) == found(explore(name))


@pytest.mark.usefixtures("distributed")
def test_a_cluster_that_is_not_there() -> None:
    with pytest.raises(MklabError, match="there is no Dask scheduler at tcp://127"):
        explore(NAMES[1], dask="tcp://127.0.0.1:9")
