from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elbo_cli.data.csv_table import read_csv
from elbo_cli.errors import UserError

LIMIT = 10**6


def read(folder: Path, text: str, encoding: str = "utf-8") -> list[list[float]]:
    path = folder / "x.csv"
    path.write_bytes(text.encode(encoding))
    values = read_csv(path, LIMIT)
    assert values.dtype == np.float32
    return values.tolist()


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        "1,2\r\n3,4",
        "a,b\n1,2\n3,4\n",
        "\n\na,b\n\n1,2\n\n3,4\n\n",
        "a;b\n1;2\n3;4\n",
        "a\tb\n1\t2\n3\t4\n",
        '"a, and more","b"\n"1",2\n3,"4"\n',
        " a , b \n 1 , 2 \n 3 , 4 \n",
        "# a,b\n1,2\n3,4\n",
        "+1.0,2e0\n3.,4\n",
        "1x1,1x2\n1,2\n3,4\n",
    ],
)
def test_ways_to_write_one_table(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == [[1, 2], [3, 4]]


def test_a_byte_order_mark_is_no_name(tmp_path: Path) -> None:
    assert read(tmp_path, "1,2\n3,4\n", "utf-8-sig") == [[1, 2], [3, 4]]


def test_one_column_and_one_row(tmp_path: Path) -> None:
    assert read(tmp_path, "1\n2\n3\n") == [[1], [2], [3]]
    assert read(tmp_path, "a\n7\n") == [[7]]
    assert read(tmp_path, "5,6,8\n") == [[5, 6, 8]]


def test_the_numbers_that_pandas_writes_for_want_of_names_are_no_data(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.arange(8.0).reshape(2, 4) + 0.5)
    assert read(tmp_path, frame.to_csv(index=False)) == frame.to_numpy().tolist()
    with pytest.raises(UserError, match="index=False"):
        read(tmp_path, frame.to_csv())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.integers(-(2**24), 2**24).map(lambda n: n / 2**10), min_size=width, max_size=width),
            min_size=1,
            max_size=5,
        )
    )
)
def test_what_is_written_is_read(tmp_path: Path, rows: list[list[float]]) -> None:
    text = "\n".join([",".join("abcd"[: len(rows[0])]), *(",".join(map(repr, row)) for row in rows)])
    assert read(tmp_path, text) == rows


BAD = {
    "empty": ("", "is empty"),
    "only blank lines": ("\n \n\n", "is empty"),
    "only a header": ("a,b\n", "no row of numbers"),
    "a word": ("1,2\n3,x\n", "line 2, column 2: 'x' is not a finite number"),
    "a word under a header": ("a,b\n1,2\n\n3,oops\n", "line 4, column 2 ('b'): 'oops'"),
    "an empty cell": ("a,b\n1,2\n3,\n", "line 3, column 2 ('b'): ''"),
    "nan": ("a,b\n1,nan\n", "line 2, column 2 ('b'): 'nan'"),
    "NA": ("a,b\n1,NA\n", "'NA'"),
    "infinite": ("1,2\n3,-inf\n", "line 2, column 2: '-inf'"),
    "beyond float32": ("1,2\n3,1e39\n", "line 2, column 2: '1e39'"),
    "Python's underscore": ("1,2\n3,1_000\n", "'1_000'"),
    "a decimal comma": ("a;b\n1,5;2\n", "line 2, column 1 ('a'): '1,5'"),
    "a short row": ("1,2\n3\n", "line 2 has 1 cells, and the first row has 2"),
    "a long row": ("1,2\n3,4,5\n", "line 2 has 3 cells, and the first row has 2"),
    "rows longer than the header": ("a,b\n1,2,3\n4,5,6\n", "line 2 has 3 cells, and the first row has 2"),
    "a first row half of names": ("a,1\n1,2\n", "must be all names or all numbers"),
    "a first row that may be names": ("0,1\n1,1\n0,0\n", "may be names of columns or numbers"),
    "an index without a name": (",a,b\n0,1,2\n", "index=False"),
    "a blank first cell": ("1,2\n,4\n", "line 2, column 1: ''"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_refused_with_its_line_and_column(tmp_path: Path, name: str) -> None:
    text, sentence = BAD[name]
    with pytest.raises(UserError) as told:
        read(tmp_path, text)
    assert sentence in str(told.value)
    assert "x.csv" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe1\x00,\x002\x00", b"a,b\n1,\x00\n", b"\x89PNG\r\n\x1a\n\x00\x00", b'"1,2\n3']
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.csv"):
        read_csv(tmp_path / "x.csv", LIMIT)


def test_a_large_table_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2\n" * 100)
    with pytest.raises(UserError, match=r"over the limit of 100. Save it with numpy.save"):
        read_csv(tmp_path / "x.csv", 100)
