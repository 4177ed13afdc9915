from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elbo_cli.data.images import read_images
from elbo_cli.errors import UserError

LIMIT = 10**6


def picture(path: Path, size: tuple[int, int] = (4, 5), mode: str = "L", grey: int = 7) -> None:
    values = np.full((size[1], size[0], 3), grey, dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path)


def test_images_come_sorted_by_name_channel_first(tmp_path: Path) -> None:
    for i, name in enumerate(["b.png", "a.PNG", "c.bmp"]):
        picture(tmp_path / name, grey=i)
    values = read_images(tmp_path, LIMIT)
    assert values.shape == (3, 1, 5, 4)  # 4 wide, 5 high
    assert values[:, 0, 0, 0].tolist() == [1, 0, 2]


def test_images_of_two_sizes_are_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", (5, 4))
    with pytest.raises(UserError, match=r"b.png is 5 x 4 L, but a.png is 4 x 5 L. All images .* one size"):
        read_images(tmp_path, LIMIT)


def test_images_of_two_kinds_are_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", mode="RGB")
    with pytest.raises(UserError, match=r"b.png is 4 x 5 RGB, but a.png is 4 x 5 L"):
        read_images(tmp_path, LIMIT)


def test_more_than_8_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5, 4), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png has mode 'I;16'. There are: 1, L"):
        read_images(tmp_path, LIMIT)


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_a_damaged_image_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    path = tmp_path / "b.png"
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    with pytest.raises(UserError, match=r"b.png cannot be read"):
        read_images(tmp_path, LIMIT)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no images .*It is empty"):
        read_images(tmp_path, LIMIT)
    (tmp_path / "cats").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"holds no images .*It holds cats/, notes.txt\."):
        read_images(tmp_path, LIMIT)


def test_many_images_are_refused_before_they_are_opened(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png", (100, 100), "RGB")
    with pytest.raises(UserError, match=r"3 images needs 90,000 bytes of memory, over the limit of 80,000"):
        read_images(tmp_path, 80_000)


def test_an_image_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", (100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)
    with pytest.raises(UserError, match=r"a.png cannot be read: Image size .* decompression bomb"):
        read_images(tmp_path, LIMIT)
