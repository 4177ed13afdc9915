import gzip
import hashlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from elbo_cli.data import idx
from elbo_cli.data.fetch import fetch
from elbo_cli.errors import UserError
from tests.data.test_idx import IMAGES, idx_bytes

NOBODY = "http://127.0.0.1:9/"  # the discard port: nobody answers
CONTENT = gzip.compress(idx_bytes(IMAGES), mtime=0)
SUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that has both files of images."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for stem in (idx.TRAIN, idx.TEST):
        (folder / f"{stem}.gz").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_from_the_first_mirror_that_has_it(mirror: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / f"{idx.TRAIN}.gz"
    urls = [f"{NOBODY}{idx.TRAIN}.gz", f"{mirror}absent.gz", f"{mirror}{idx.TRAIN}.gz"]
    fetch(urls, SUM, target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]  # no temporary file is left


def test_another_file_than_the_published_one_is_not_kept(mirror: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / f"{idx.TRAIN}.gz"
    with pytest.raises(UserError, match=r"could not be fetched .*hash"):
        fetch([f"{mirror}{idx.TRAIN}.gz"], "0" * 32, target)
    assert list(target.parent.iterdir()) == []


def test_without_a_network_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        fetch([f"{NOBODY}x.gz", f"{NOBODY}y.gz"], SUM, tmp_path / "x.gz")
    for part in ("x.gz could not be fetched", f"{NOBODY}x.gz", f"{NOBODY}y.gz", f"put it in {tmp_path}"):
        assert part in str(told.value)
    assert "\n" not in str(told.value)


def test_a_folder_that_cannot_be_written_is_a_sentence(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="could not be fetched"):
        fetch([f"{mirror}{idx.TRAIN}.gz"], SUM, tmp_path / "file" / "x.gz")


def test_mnist_is_fetched_once(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = idx.Release("mnist", "MNIST/raw", (mirror,), {idx.TRAIN: SUM, idx.TEST: SUM})
    monkeypatch.setattr(idx, "MNIST", release)
    data = idx.mnist(root=tmp_path / "root", download=True, valid=5)
    assert len(data.train) == len(IMAGES) - 5
    monkeypatch.setattr(idx, "MNIST", idx.Release("mnist", "MNIST/raw", (NOBODY,), release.checksums))
    assert idx.mnist(root=tmp_path / "root", download=True, valid=5).test.digest() == data.test.digest()


def test_files_that_are_there_need_not_be_compressed_as_published(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for stem in (idx.TRAIN, idx.TEST):
        (folder / f"{stem}.gz").write_bytes(gzip.compress(idx_bytes(IMAGES), 1))
    assert np.prod(idx.mnist(root=tmp_path, download=True, valid=5).shape) == 20


def test_without_pooch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    for root in (tmp_path, None):
        with pytest.raises(UserError, match=r"pip install 'elbo-cli\[download\]'"):
            idx.mnist(root=root, download=True)
    with pytest.raises(UserError, match=r"data\.root=FOLDER"):
        idx.mnist()


def test_published_checksums_are_of_the_right_form() -> None:
    for release in (idx.MNIST, idx.FASHION_MNIST):
        assert set(release.checksums) == {idx.TRAIN, idx.TEST}
        for kind, text in (checksum.split(":") for checksum in release.checksums.values()):
            assert kind == "sha256"
            assert len(bytes.fromhex(text)) == 32
        assert all(mirror.endswith("/") for mirror in release.mirrors)
