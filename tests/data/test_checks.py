import numpy as np
import pytest

from elbo_cli.data import checks
from elbo_cli.data.checks import as_data, check_values
from elbo_cli.errors import UserError

GOOD = np.random.default_rng(0).normal(size=(10, 3, 4))


def test_good_data_pass() -> None:
    check_values(GOOD, 1.0, "x", varied=True)
    check_values(GOOD[:1], 1.0, "x", varied=False)
    check_values(np.zeros((1, 3)), 1.0, "x", varied=True)  # one datum is not "all the same"


@pytest.mark.parametrize("cells", [1, 12, 30, 10**6])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_row_of_what_is_not_finite_is_told(cells: int, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CELLS", cells)
    values = GOOD.copy()
    values[7, 2, 1] = values[8, 0, 0] = value
    with pytest.raises(UserError) as told:
        check_values(values, 1.0, "mine.npy", varied=True)
    for part in ("mine.npy", "shape (10, 3, 4)", "datum 7", f"{value}", "[2, 1]"):
        assert part in str(told.value)


def test_what_float32_cannot_hold_is_told() -> None:
    values = GOOD.copy()
    values[2, 0, 0] = 1e39
    with pytest.raises(UserError, match=r"datum 2 .* holds 1e\+39 \(beyond float32"):
        check_values(values, 1.0, "x", varied=True)
    with pytest.raises(UserError, match="beyond float32"):
        check_values(np.array([[1, 2], [3, 4]], np.uint8), 1e-40, "x", varied=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize("cells", [1, 30, 10**6])
def test_constant_data_are_refused(cells: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CELLS", cells)
    one = np.full((10, 3), 2.5, dtype)
    for varied in (True, False):
        with pytest.raises(UserError, match=r"every value of the 10 data is 2"):
            check_values(one, 1.0, "x", varied=varied)
    repeated = np.tile(np.arange(3, dtype=dtype), (10, 1))
    with pytest.raises(UserError, match="all 10 data are the same"):
        check_values(repeated, 1.0, "x", varied=True)
    check_values(repeated, 1.0, "x", varied=False)  # to measure one datum again and again is a good experiment
    last_differs = one.copy()
    last_differs[9, 2] = 0
    check_values(last_differs, 1.0, "x", varied=True)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros((0, 3)), r"is empty: its shape is \(0, 3\)"),
        (np.zeros((3, 0)), "is empty"),
        (np.zeros(3), r"has shape \(3,\); data must be \[N, D\]"),
        (np.zeros(()), r"has shape \(\)"),
        (np.zeros((2, 2, 2, 2, 2)), "data must be"),
        (np.zeros((2, 2), complex), "holds complex128"),
        (np.array([["a"]]), "holds <U1"),
        (np.zeros((2, 2), "M8[s]"), "holds datetime64"),
        (np.zeros((2, 2), [("a", float)]), "must be whole or real numbers"),
    ],
)
def test_what_is_no_array_of_data_is_refused(values: np.ndarray, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        as_data(values, "x")


def test_a_reshaped_memory_map_stays_one(tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 5, 4, 3), bool))
    mapped = as_data(np.load(tmp_path / "x.npy", mmap_mode="r"), "x")
    assert isinstance(mapped, np.memmap)
    assert (mapped.shape, mapped.dtype) == ((2, 3, 5, 4), np.uint8)
