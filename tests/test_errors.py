"""The errors' messages are what a student reads."""

import errno
import re

import pytest

from mklab.errors import GuestBuildError, ImageError, KexecError, MklabError, require


def test_one_except_clause_catches_all_of_them() -> None:
    assert issubclass(KexecError, MklabError)
    assert issubclass(ImageError, MklabError)
    assert issubclass(GuestBuildError, MklabError)


def test_a_refusal_names_function_errno_and_reason() -> None:
    error = KexecError(errno.EADDRNOTAVAIL, "sanity_check_segment_list", "segment 0 is not page aligned")
    assert str(error) == "sanity_check_segment_list: -EADDRNOTAVAIL: segment 0 is not page aligned"
    assert (error.errno, error.name) == (99, "EADDRNOTAVAIL")


def test_an_errno_without_a_symbol_keeps_its_number() -> None:
    assert KexecError(4095, "kexec_load", "?").name == "4095"


@pytest.mark.parametrize("value", [1, 64])
def test_a_number_in_range_passes(value: int) -> None:
    require("cpus", value, 1, 64)


@pytest.mark.parametrize("value", [0, 65, -1, 2.0, "2", None, True])
def test_anything_else_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"cpus must be 1 to 64 here, not {value!r}")):
        require("cpus", value, 1, 64, " here")
