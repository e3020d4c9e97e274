"""Data sets whose files are damaged anywhere: read, or refused in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_folders import shard

from faults.fuzzing import damaged, fuzz, twisted
from faults.readers import Read, outcome
from vitnas.data.bundled import read_idx
from vitnas.data.sources import open_data

IDX = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 2, 2)) + bytes(12)
SHARD = shard(range(6))


def read_shards(path: Path) -> None:
    """Open the shards beside a file, and read their images."""
    data = open_data(f"wds/{path.parent}", search_fraction=0.5)
    for split in (data.train, data.search, data.test):
        for index in range(len(split)):
            split[index]


FILES: dict[str, tuple[bytes, Read]] = {
    "images.gz": (gzip.compress(IDX, mtime=0), read_idx),
    "unpacked.gz": (IDX, read_idx),
    "a-train-0.tar": (SHARD, read_shards),
}


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@fuzz
def test_damaged_files_of_data_sets(name: str, tmp_path: Path, data: st.DataObject) -> None:
    content, read = FILES[name]
    path, packed = tmp_path / name, name.startswith("unpacked")
    spoilt = data.draw(damaged(content))
    path.write_bytes(gzip.compress(spoilt, mtime=0) if packed else spoilt)
    outcome(read, path)


@given(data=st.data())
@fuzz
def test_twisted_lists_of_shards(tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "a.tar").write_bytes(SHARD)
    told = {"splits": {"train": {"filenames": ["a.tar"]}}}
    path = tmp_path / "_info.json"
    path.write_text(json.dumps(data.draw(twisted(told))))
    outcome(read_shards, path)


def test_sound_ones_are_read(tmp_path: Path) -> None:
    (tmp_path / "images.gz").write_bytes(gzip.compress(IDX))
    assert read_idx(tmp_path / "images.gz").shape == (3, 2, 2)
    (tmp_path / "a-train-0.tar").write_bytes(SHARD)
    read_shards(tmp_path / "a-train-0.tar")
