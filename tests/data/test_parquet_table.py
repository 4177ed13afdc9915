from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elbo_cli.data.parquet_table import read_parquet
from elbo_cli.errors import UserError

LIMIT = 10**6
FRAME = pd.DataFrame({"a": [1.5, 2.0, 3.0], "b": [4, 5, 6], "c": [True, False, True]})


def written(folder: Path, frame: pd.DataFrame, index: bool = False) -> Path:
    frame.to_parquet(folder / "x.parquet", index=index, row_group_size=len(frame) // 2 + 1)
    return folder / "x.parquet"


def test_columns_of_numbers_become_float32(tmp_path: Path) -> None:
    values = read_parquet(written(tmp_path, FRAME), LIMIT)
    assert values.dtype == np.float32
    assert values.tolist() == [[1.5, 4, 1], [2, 5, 0], [3, 6, 1]]


def test_columns_of_bytes_stay_bytes(tmp_path: Path) -> None:
    values = read_parquet(written(tmp_path, FRAME[["b"]].astype(np.uint8)), LIMIT)
    assert values.dtype == np.uint8


@pytest.mark.parametrize(
    ("frame", "index", "sentence"),
    [
        (pd.DataFrame({"a": [1.0], "name": ["x"]}), False, "column 'name' holds"),
        (pd.DataFrame({"day": pd.to_datetime(["2026-01-01"])}), False, "column 'day' holds timestamp"),
        (pd.DataFrame({"a": [1, 2], "v": [[1, 2], [3, 4]]}), False, "column 'v' holds list"),
        (pd.DataFrame({"a": pd.array([1, 2, None], dtype="Int64")}), False, "column 'a', row 2 (counted from 0)"),
        (FRAME.set_index(pd.Index([5, 6, 9])), True, "pandas's index"),
        (FRAME[[]], False, "no columns"),
        (pd.DataFrame(np.zeros((500, 600))), False, "over the limit"),
    ],
)
def test_a_bad_table_is_refused_with_its_column(
    tmp_path: Path, frame: pd.DataFrame, index: bool, sentence: str
) -> None:
    frame.columns = [str(name) for name in frame.columns]
    with pytest.raises(UserError) as told:
        read_parquet(written(tmp_path, frame, index), LIMIT)
    assert sentence in str(told.value)
    assert "x.parquet" in str(told.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_truncation_is_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    path = written(tmp_path, FRAME)
    content = path.read_bytes()
    (tmp_path / "y.parquet").write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UserError, match=r"y.parquet cannot be read"):
        read_parquet(tmp_path / "y.parquet", LIMIT)
