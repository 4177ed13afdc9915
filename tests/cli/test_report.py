"""`elbo report`: one page that needs nothing but itself, whatever a run is called and whatever its data are."""

import json
import shutil
from base64 import b64decode
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from elbo_cli.commands import comparing, reporting
from tests.browser import browsing, chromium
from tests.cli.command import TINY, elbo

QUICK = ("--limit", 12, "--samples", 20)
NAME = "<script>alert(1)<&\"'"  # of a run's folder
LARGEST = 3_000_000


@dataclass
class Seen(HTMLParser):
    """The elements of a page, and where their attributes lead."""

    tags: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "xlink:href")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: Path) -> Seen:
    seen = Seen()
    seen.feed(page.read_text("utf-8"))
    return seen


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with a nasty name; its data are images, its latents two."""
    run = tmp_path_factory.mktemp("nasty") / NAME
    shutil.copytree(trained, run)
    answer = elbo("report", run, *QUICK, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert all(Path(file).is_file() for file in found["files"])
    return Path(found["report"])


def test_the_page_is_in_the_run_with_its_figures_behind_it(page: Path) -> None:
    assert page == page.parent.parent / NAME / "report.html"
    names = {file.name for file in page.with_suffix("").iterdir()}
    for name in ("training-elbo", "ledger", "bound", "weights-worst", "khat", "ess", "kl-per-latent", "posterior-1"):
        assert {f"{name}.svg", f"{name}.png"} <= names
    assert {"typical.png", "worst-gap.png", "worst-reconstructed.png", "samples.png", "traversals.png"} <= names
    assert "manifold.png" in names
    for svg in page.with_suffix("").glob("*.svg"):
        ElementTree.parse(svg)


def test_the_page_is_whole_and_small_and_asks_for_nothing(page: Path) -> None:
    assert page.stat().st_size < LARGEST
    seen = read(page)
    assert not {"script", "link", "iframe", "object"} & set(seen.tags)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in seen.sources)
    for source in seen.sources:
        if source.startswith("data:"):
            with Image.open(BytesIO(b64decode(source.split(",")[1]))) as picture:
                picture.load()  # to its last byte: a browser is content with less
    assert "url(http" not in page.read_text("utf-8")


def test_a_run_may_be_called_anything(page: Path) -> None:
    seen = read(page)
    assert NAME in "".join(seen.words)  # as words
    assert "<script" not in page.read_text("utf-8")


def test_every_figure_says_what_to_see_in_numbers(page: Path) -> None:
    text = page.read_text("utf-8")
    captions = [part.split("</figcaption>")[0] for part in text.split("<figcaption>")[1:]]
    assert len(captions) >= 12
    assert all(any(c.isdigit() for c in caption) and caption.endswith(".") for caption in captions)
    assert not any("nan" in caption or "None" in caption for caption in captions)


def test_config_manifest_and_commands_are_at_the_foot(page: Path) -> None:
    words = "".join(read(page).words)
    assert "latent_dim: 2" in words
    assert '"torch"' in words
    assert "elbo train --config" in words
    assert "--limit 12 --samples 20" in words


def test_the_same_run_gives_the_same_page(page: Path, tmp_path: Path) -> None:
    assert elbo("report", page.parent, *QUICK, "--out", tmp_path / "again.html").code == 0
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


COLOURS = {False: ("rgb(251, 252, 253)", "rgb(93, 102, 117)"), True: ("rgb(16, 19, 25)", "rgb(154, 165, 181)")}


def test_a_real_browser_shows_all_of_it(page: Path) -> None:
    program = chromium()
    if program is None:
        pytest.skip("no Chromium here")
    with browsing(program) as browser:
        for width, dark in product((390, 1280), (False, True)):
            browser.open(page.as_uri(), width, dark)
            assert browser.complaints() == []
            assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
            assert browser.run("document.images.length") > 20
            assert browser.broken_images() == 0
            assert browser.run("document.documentElement.scrollWidth") == width  # nothing to push sideways
            assert browser.run("[...document.querySelectorAll('svg')].every(s => s.clientHeight > 99)")
            paper = browser.run("getComputedStyle(document.body).backgroundColor")
            label = browser.run("getComputedStyle(document.querySelector('.panels svg text')).fill")
            assert (paper, label) == COLOURS[dark]


def test_paper_is_white_and_shows_what_is_folded(page: Path) -> None:
    program = chromium()
    if program is None:
        pytest.skip("no Chromium here")
    with browsing(program) as browser:
        browser.open(page.as_uri(), 794, dark=True)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser.ask("Emulation.setEmulatedMedia", media="print", features=dark)
        assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
        assert browser.run("getComputedStyle(document.body).color") == "rgb(27, 31, 39)"
        assert browser.run("[...document.querySelectorAll('details pre')].every(e => e.checkVisibility())")


def test_the_browser_would_tell(tmp_path: Path) -> None:
    """The negative control: a page that asks, complains and lacks a picture is seen to."""
    program = chromium()
    if program is None:
        pytest.skip("no Chromium here")
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='missing.png'><script>console.error('no'); throw 1</script>")
    with browsing(program) as browser:
        browser.open(bad.as_uri())
        assert len(browser.complaints()) >= 2
        assert any(url.endswith("missing.png") for url in browser.requests())
        assert browser.broken_images() == 1


def test_data_that_are_no_images_get_figures_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "rows.npy", (rng.normal(size=(300, 1)) * [1, 2, -1] + rng.normal(size=(300, 3))).astype("f4"))
    (tmp_path / "rows.yaml").write_text(
        TINY.replace("{name: digits, binarize: dynamic}", f"{{name: arrays, path: {tmp_path / 'rows.npy'}}}").replace(
            "latent_dim: 2", "latent_dim: 3, likelihood: gaussian"
        )
    )
    assert elbo("train", "--config", tmp_path / "rows.yaml", "--out", tmp_path / "run").code == 0
    answer = elbo("report", tmp_path / "run", *QUICK)
    assert answer.code == 0, answer.err
    seen = read(tmp_path / "run" / "report.html")
    assert "img" not in seen.tags
    assert "Does the model make such data?" in "".join(seen.words)
    names = {file.stem for file in (tmp_path / "run" / "report").iterdir()}
    assert {"generated", "traversal-1", "worst-gap-1", "typical-3"} <= names


def test_a_checkpoint_alone_has_a_report_and_so_has_one_datum(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / "best.safetensors", "mine.safetensors")
    assert elbo("report", "mine.safetensors", "--limit", 1, "--samples", 2).code == 0
    seen = read(tmp_path / "report.html")
    assert not any("nan" in words for words in seen.words)
    assert any("one datum" in words for words in seen.words)
    assert "elbo gap mine.safetensors" in "".join(seen.words)
    assert "Training" not in seen.words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--out", "page.txt"], "a report is a page"),
        (["nowhere"], "no checkpoint nowhere"),
        (["run", "--out", "nowhere/page.html"], "no folder nowhere"),
        (["run", "--out", "taken.html"], "which is a file"),
    ],
)
def test_mistakes_are_sentences(words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    answer = elbo("report", *words)
    assert answer.code == 2
    assert says in answer.err


@pytest.mark.parametrize("others", [[], ["trained"]])
def test_a_row_that_is_none_is_told_before_the_long_work(
    others: list[str], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("broken", "trained"):
        shutil.copytree(trained, tmp_path / name)
    with (tmp_path / "broken" / "metrics.csv").open("a") as file:
        file.write("3,4\n")
    for work in (reporting, "portray"), (comparing, "compared"):
        monkeypatch.setattr(*work, lambda *_, **__: pytest.fail("it began to measure"))
    monkeypatch.chdir(tmp_path)
    answer = elbo("report", *others, "broken")
    assert answer.code == 2
    assert "broken/metrics.csv is not as elbo wrote it" in answer.err


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "find_spec", lambda name: None)
    answer = elbo("report", "run")
    assert answer.code == 2
    assert "elbo-cli[plots]" in answer.err
