from pathlib import Path

import pytest

from elbo_cli.data.files import existing, reading
from elbo_cli.errors import UserError


def test_a_path_that_is_there_is_given_back(tmp_path: Path) -> None:
    assert existing(str(tmp_path), "data.path") == tmp_path


def test_a_wrong_name_is_told_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "train.npy").touch()
    with pytest.raises(UserError, match=r"data.path=.*trian.npy does not exist. Did you mean 'train.npy'"):
        existing(tmp_path / "digits" / "trian.npy", "data.path")
    with pytest.raises(UserError, match=r"There is no folder .*digit. Did you mean 'digits'"):
        existing(tmp_path / "digit" / "deeper" / "train.npy", "data.path")
    with pytest.raises(UserError, match="does not exist"):  # a file in the place of a folder
        existing(tmp_path / "digits" / "train.npy" / "x", "data.path")


@pytest.mark.parametrize("path", ["", "x" * 5000, "a\0b", "~nobody-of-that-name/x.npy"])
def test_a_path_that_cannot_be_one_is_a_sentence(path: str) -> None:
    with pytest.raises(UserError, match=r"data\.path"):
        existing(path, "data.path")


def test_whatever_a_parser_raises_becomes_one_line_with_the_name() -> None:
    for error in (ValueError("first line.\nsecond line"), MemoryError(), KeyError("x"), RecursionError("deep")):
        with pytest.raises(UserError) as told, reading("mine.npy"):
            raise error
        assert str(told.value).startswith("mine.npy cannot be read: ")
        assert "\n" not in str(told.value)
    with pytest.raises(UserError, match=r"^mine$"), reading("mine.npy"):
        raise UserError("mine")
