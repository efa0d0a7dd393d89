"""A pytest plugin: notebooks that run at the same time keep their progress in files of their own."""

import os
from pathlib import Path

import pytest

__all__ = ["pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    """In a worker of xdist, let the notebooks' kernels use another progress file than those of other workers.

    The file's name stays, since a lab's last cell tells it.
    """
    worker = getattr(config, "workerinput", {}).get("workerid")
    if worker is not None:
        common = Path(os.environ["MKLAB_PROGRESS"])
        own = common.parent / worker
        own.mkdir(exist_ok=True)
        os.environ["MKLAB_PROGRESS"] = str(own / common.name)
