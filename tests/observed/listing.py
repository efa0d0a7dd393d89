"""A pytest plugin: which observation is shown by which test, a line each, of the tests that pytest would run."""

import pytest

__all__ = ["pytest_collection_finish"]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Print ``observed ID TEST`` for each id of each marked test that nothing skips."""
    for item in session.items:
        if any(item.iter_markers("skip")) or any(item.iter_markers("skipif")) or any(item.iter_markers("xfail")):
            continue
        for marker in item.iter_markers("observed"):
            for name in marker.args:
                print(f"observed {name} {item.nodeid.split('[')[0]}")
