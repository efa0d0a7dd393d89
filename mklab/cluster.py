"""A Dask cluster, where there is one."""

from contextlib import ExitStack
from typing import Any

from mklab.errors import MklabError

__all__ = ["HERE", "client"]

HERE = "here"
"""Instead of an address: a cluster of this computer's processes."""


def client(address: str, stack: ExitStack, processes: int = 1) -> Any:
    """A ``distributed.Client``, closed with ``stack``.

    Args:
        address: of a scheduler; or :data:`HERE`.
        stack: what ends with it.
        processes: how many workers a cluster of this computer has.

    Raises:
        MklabError: there is no scheduler, or the package is missing.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise MklabError("a Dask cluster is reached by the package distributed: install mklab[dask]") from None
    try:
        if address != HERE:
            return stack.enter_context(Client(address, timeout=10))
        # What the work needs it limits itself; the workers need little.
        own = LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None, memory_limit=0)
        return stack.enter_context(Client(stack.enter_context(own)))
    except (OSError, ValueError) as error:
        raise MklabError(f"there is no Dask scheduler at {address}: {error}") from None
