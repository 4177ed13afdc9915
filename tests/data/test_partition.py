import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elbo_cli.data.partition import partition, shuffled, size
from elbo_cli.errors import UserError


@given(total=st.integers(3, 400), test=st.integers(1, 200), valid=st.integers(1, 200))
def test_every_row_is_in_one_part(total: int, test: int, valid: int) -> None:
    if test + valid >= total:
        with pytest.raises(UserError, match="leave none to train on"):
            partition(total, "x", test=test, valid=valid)
        return
    parts = partition(total, "x", test=test, valid=valid)
    assert (len(parts["test"]), len(parts["valid"])) == (test, valid)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(total))
    assert all((np.diff(rows) > 0).all() for rows in parts.values())  # in the file's order


def test_the_test_rows_do_not_depend_on_the_size_of_validation() -> None:
    few, many = (partition(500, "x", test=50, valid=valid)["test"] for valid in (1, 200))
    assert (few == many).all()


def test_the_permutation_is_the_same_for_ever() -> None:
    assert shuffled(10).tolist() == LITERAL


LITERAL = [8, 9, 3, 2, 0, 4, 5, 7, 1, 6]


@pytest.mark.parametrize(("part", "expected"), [(1, 1), (7, 7), (0.1, 10), (0.999, 100), (0.001, 1)])
def test_a_size_is_a_number_or_a_fraction(part: float, expected: int) -> None:
    assert size(part, 100, "data.test") == expected


@pytest.mark.parametrize("part", [0, -1, 0.0, 1.0, -0.1, 1.5, 20.0, True, float("nan"), float("inf"), "5"])
def test_what_is_neither_is_refused(part: float) -> None:
    with pytest.raises(UserError, match=r"data\.test="):
        size(part, 100, "data.test")
