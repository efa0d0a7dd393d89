"""Files of plain data: what was packed comes back, in bounded lines, and what is damaged or forged is refused."""

import gc
import json
import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab import packed
from mklab.packed import LINE, Format, leaves, pack, read, tree, unpack, write
from tests.packing import opened, sealed

FORM = Format("mklab test", 3, 1 << 24)


def unpacked(data: bytes, form: Format = FORM) -> list[tuple[str, list[Any]]]:
    return [(part, list(rows)) for part, rows in unpack(form, data)]


def lines(data: bytes) -> list[bytes]:
    return opened(data).splitlines(keepends=True)


def test_what_was_packed_comes_back() -> None:
    parts: list[tuple[str, list[Any]]] = [
        ("one", [[1, "a\nb"], None, {"é": [2.5]}]),
        ("two", [[number] for number in range(2500)]),
        ("three", [0]),
    ]
    data = pack(FORM, iter(parts))
    assert unpacked(data) == parts
    assert pack(FORM, parts) == data
    assert [len(json.loads(line)) - 2 for line in lines(data)] == [3, 1000, 1000, 500, 1, 1]


def test_a_part_need_not_be_read() -> None:
    data = pack(FORM, [("one", range(5000)), ("two", range(3))])
    assert [part for part, _ in unpack(FORM, data)] == ["one", "two"]


def test_no_line_is_longer_than_the_bound() -> None:
    chance = random.Random(2)
    rows = ["x" * chance.choice([0, 10, 1000, 100_000, LINE - 20]) for _ in range(300)]
    data = pack(FORM._replace(most=1 << 30), [("rows", rows)])
    assert max(map(len, lines(data))) <= LINE
    assert unpacked(data, FORM._replace(most=1 << 30)) == [("rows", rows)]


def test_a_row_that_fits_into_no_line() -> None:
    with pytest.raises(ValueError, match=f"a row of long must be {LINE} characters of JSON at most, not"):
        pack(FORM, [("long", ["a", "x" * LINE])])


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("y" * (3 << 16)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_anything_as_rows(value: Any) -> None:
    rows = json.loads(json.dumps(list(leaves(value))))
    assert tree(rows) == value
    assert max(len(json.dumps(row)) for row in rows) < LINE


@pytest.mark.parametrize("rows", [[], [5], [[5, 6]], [[[1], 1]], [[[], 1], [[], 2]], [[["a"]]]])
def test_rows_that_are_of_nothing(rows: list[Any]) -> None:
    with pytest.raises(packed.DAMAGE):
        tree(rows)


# Damage


def test_a_file_cut_or_changed_anywhere_is_refused() -> None:
    data = pack(FORM, [("one", range(3))])
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"^it"):
            unpacked(data[:end])
        with pytest.raises(ValueError, match=r"^it"):
            unpacked(data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :])


def test_foreign_files_and_versions() -> None:
    with pytest.raises(ValueError, match="it does not begin as one"):
        unpacked(b"PK\3\4")
    data = pack(FORM, [])
    assert unpacked(data) == []
    for version in (2, 4, 33):
        with pytest.raises(ValueError, match=f"it has the format '{version}', and this mklab reads '3'"):
            unpacked(data.replace(b"test 3\n", b"test %d\n" % version, 1))


def forgeries() -> dict[str, tuple[bytes, str]]:
    a, b, c, end = lines(pack(FORM, [("rows", range(2500))]))
    return {
        "first missing": (b + c + end, "its line 0 is missing"),
        "one missing": (a + c + end, "its line 1 is missing"),
        "last missing": (a + b + c, "its last line is missing"),
        "out of order": (a + c + b + end, "its line 1 is missing"),
        "twice": (a + b + b + c + end, "its line 2 is missing"),
        "one too many": (a + b + c + end + end, "its line 4 is missing"),
        "not ended": (a + b + c + end[:-1], "its last line is not whole"),
        "empty": (b"", "its last line is missing"),
        "too long": (a.replace(b"0,", b"0," + b" " * LINE, 1) + b + c + end, f"it has a line of more than {LINE}"),
        "no row": (b'{"0": 1}\n' + end, "its line 0 is missing, or another one"),
        "no JSON": (b"\xff\n" + end, "utf-8"),
    }


@pytest.mark.parametrize("name", forgeries())
def test_a_forged_file_is_refused(name: str) -> None:
    text, why = forgeries()[name]
    with pytest.raises(ValueError, match=why):
        unpacked(sealed(FORM, text))


def test_a_body_that_is_not_whole() -> None:
    whole = pack(FORM, [("rows", range(9))])
    assert sealed(FORM, opened(whole)) != whole[:-1]
    for body in (whole[len(FORM.magic) + 32 :][:-3], whole[len(FORM.magic) + 32 :] + b"more"):
        forged = FORM.magic + sha256(FORM.magic + body).digest() + body
        with pytest.raises(ValueError, match="its contents are not whole"):
            unpacked(forged)


def test_a_bomb_does_not_go_off() -> None:
    with pytest.raises(ValueError, match="it has a line of more than"):
        unpacked(sealed(FORM, bytes(FORM.most * 4)))
    bomb = b"".join(b'[%d,"a",0%b]\n' % (number, b" " * 500_000) for number in range(40))
    with pytest.raises(ValueError, match=f"it holds more than {FORM.most} bytes"):
        unpacked(sealed(FORM, bomb))


def test_the_garbage_collector_rests_and_goes_on() -> None:
    def broken() -> None:
        seen.append(gc.isenabled())
        raise KeyboardInterrupt

    seen = [packed.made(gc.isenabled)]
    with pytest.raises(KeyboardInterrupt):
        packed.made(broken)
    assert (seen, gc.isenabled()) == ([False, False], True)


# Files


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = tmp_path / "file", random.Random(3).randbytes(300_000)
    write(path, b"old")
    write(path, data)
    assert read(path) == data

    def broken(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        write(path, b"new")
    assert read(path) == data
    assert list(tmp_path.iterdir()) == [path]
