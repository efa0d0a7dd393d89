import pytest

from mklab.widgets.words import listed


@pytest.mark.parametrize(
    ("numbers", "prefix", "words"),
    [
        ([2], "", "2"),
        ([0, 1], "", "0 and 1"),
        ([0, 1, 3], "m", "m0, m1 and m3"),
        ([0, 1, 2], "", "0 to 2"),
        ([1, 2, 3, 5, 7, 8, 9], "m", "m1 to m3, m5 and m7 to m9"),
    ],
)
def test_listed(numbers: list[int], prefix: str, words: str) -> None:
    assert listed(numbers, prefix) == words
