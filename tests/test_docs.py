"""README and docs: links lead somewhere, pages are linked once, and a script of one runs."""

from __future__ import annotations

import gzip
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vitnas.data import bundled

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What the headings of a page are linked by."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name} links {link}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links {link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_that_are_named_exist(page: Path) -> None:
    for name in re.findall(
        r"(?<![\w/])(?:docs|benchmarks|src/vitnas)/[\w/-]+\.\w+", page.read_text()
    ):
        assert (ROOT / name).exists(), f"{page.name} names {name}, which is not there"


def run_script(patch: pytest.MonkeyPatch, folder: Path, given: Path) -> None:
    """Run the script of the page about small data where Debian's package is not installed."""
    page = (ROOT / "docs" / "small-data.md").read_text()
    (script,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    (folder / "split.py").write_text(script)
    patch.setattr(bundled, "FASHION_FOLDER", folder / "package")
    patch.setattr(sys, "argv", ["split.py", str(given)])
    patch.chdir(folder)
    runpy.run_path("split.py")


def test_small_data_is_split_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for part, count in (("train", 1020), ("t10k", 30)):
        write_idx(given / f"{part}-images-idx3-ubyte.gz", np.zeros((count, 4, 4), np.uint8))
        write_idx(given / f"{part}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    run_script(monkeypatch, tmp_path, given)
    counts = {
        str(path.relative_to(tmp_path)): len(list(path.iterdir()))
        for path in tmp_path.glob("*/*/[0-9]")
    }
    assert counts == {
        **{
            f"many/{part}/{label}": n
            for part, n in (("train", 102), ("test", 3))
            for label in range(5)
        },
        **{
            f"few/{part}/{label}": n
            for part, n in (("train", 100), ("test", 3))
            for label in range(5, 10)
        },
    }


def test_without_the_files_the_script_says_in_one_line_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_script(monkeypatch, tmp_path, tmp_path)
    told = ended.value.code  # a text, which is printed, with exit code 1
    assert isinstance(told, str)
    assert len(told.splitlines()) == 1
    assert f"install the Debian package {bundled.FASHION_PACKAGE}, or give" in told


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write a gzipped IDX file of bytes."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + values.tobytes()))


def test_the_readme_links_every_page_once() -> None:
    linked = re.findall(r"\]\((docs/[\w-]+\.md)\)", (ROOT / "README.md").read_text())
    assert sorted(linked) == [f"docs/{page.name}" for page in PAGES[1:]]
