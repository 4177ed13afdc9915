import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from elbo_cli.data.npy import map_npy, npz_names, read_header, read_npz
from elbo_cli.data.shards import open_shards
from elbo_cli.errors import UserError

LIMIT = 10**6
VALUES = np.arange(24, dtype=np.float32).reshape(4, 6)


def npy_bytes(values: NDArray[Any], version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    npy_format.write_array(file, values, version=version)
    return file.getvalue()


def promising(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """The header of an array, and nothing of it."""
    file = io.BytesIO()
    npy_format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": dtype})
    return file.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("values", [VALUES, np.asfortranarray(VALUES), VALUES.astype(">i8"), VALUES > 3])
def test_a_header_says_where_which_array_is(tmp_path: Path, values: NDArray[Any], version: tuple[int, int]) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(npy_bytes(values, version))
    header = read_header(path)
    assert (header.shape, header.dtype, header.bytes, header.stride) == (
        values.shape,
        values.dtype,
        values.nbytes,
        values[0].nbytes,
    )
    np.testing.assert_array_equal(map_npy(path, header), values)


def test_the_arrays_of_an_npz_have_names(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=VALUES, b=VALUES[:2])
    assert npz_names(tmp_path / "x.npz") == ["a", "b"]
    np.testing.assert_array_equal(read_npz(tmp_path / "x.npz", "b", LIMIT), VALUES[:2])


GOOD = npy_bytes(VALUES)
BAD = {
    "nothing in it": (b"", "cannot be read"),
    "only the magic": (GOOD[:6], "cannot be read"),
    "half a header": (GOOD[:40], "cannot be read"),
    "one byte short": (GOOD[:-1], "promises an array of shape (4, 6), 96 bytes, but holds 95"),
    "one byte more": (GOOD + b"\0", "96 bytes, but holds 97"),
    "two arrays": (GOOD + GOOD, "truncated or damaged"),
    "text": (b"1,2\n3,4\n", "cannot be read"),
    "a huge promise": (promising((2**40, 2**20)) + bytes(100), "promises an array"),
    "a negative shape": (promising((-4, -6)) + GOOD[-96:], "promises an array of shape (-4, -6)"),
    "a pickle": (npy_bytes(np.array([{"run": "code"}], dtype=object)), "holds Python objects (a pickle)"),
    "a pickle in a field": (npy_bytes(np.zeros(2, dtype=[("a", object)])), "holds Python objects (a pickle)"),
    "another version": (b"\x93NUMPY\x03\x00" + GOOD[8:], "version (3, 0)"),
    "a header that is code": (GOOD.replace(b"(4, 6)", b"exit()"), "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_npy_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, sentence = BAD[name]
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(UserError) as told:
        read_header(path)
    assert sentence in str(told.value)
    assert str(path) in str(told.value)


@pytest.mark.parametrize("name", BAD)
def test_a_broken_array_in_an_npz_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, sentence = BAD[name]
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", content)
    with pytest.raises(UserError) as told:
        read_npz(path, "data", LIMIT)
    assert sentence in str(told.value)
    assert f"{path}[data]" in str(told.value)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, data=np.zeros((3000, 1000), np.float32))
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(npy_format, "read_array", None)  # whoever unpacks fails
    with pytest.raises(UserError, match=r"12,000,000 bytes of memory, over the limit of 1,000,000. Save it with numpy"):
        read_npz(path, "data", LIMIT)


def test_a_size_that_the_zip_lies_about_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, data=VALUES)
    content = path.read_bytes()
    true_size = len(GOOD).to_bytes(4, "little")
    assert content.count(true_size) >= 2
    path.write_bytes(content.replace(true_size, (len(GOOD) + 1).to_bytes(4, "little")))
    with pytest.raises(UserError, match="damaged"):
        read_npz(path, "data", LIMIT)


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", data=VALUES)
    whole = (tmp_path / "x.npz").read_bytes()
    for content in (b"", GOOD, whole[: len(whole) // 2], whole[20:]):
        (tmp_path / "y.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"y.npz.* cannot be read"):
            read_npz(tmp_path / "y.npz", "data", LIMIT)
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    with pytest.raises(UserError, match=r"z\.npz holds no arrays"):
        npz_names(tmp_path / "z.npz")
    with pytest.raises(UserError, match=r"No array in .*x.npz is called 'date'. Did you mean 'data'"):
        read_npz(tmp_path / "x.npz", "date", LIMIT)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(["npy", "npz"]))
def test_any_damage_is_read_or_is_a_sentence(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    if suffix == "npy":
        content = bytearray(GOOD)
    else:
        np.savez_compressed(path, data=VALUES)
        content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        values = open_shards([path])[:] if suffix == "npy" else read_npz(path, "data", LIMIT)
    except UserError as error:
        told = str(error)
    else:
        told = str(path) if values.nbytes <= LIMIT else "too large"
    assert str(path) in told
