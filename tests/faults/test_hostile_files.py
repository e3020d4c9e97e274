"""Whatever a file from outside holds: it is read, or refused in one line; nothing in it runs.

Each reader gets a sound file, then damaged and hostile ones: bytes cut out, turned and put in, and
values replaced by what programs trip over.
"""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faults.fuzzing import damaged, fuzz, twisted
from faults.readers import RECORDS, TEXTS, net, outcome, table
from report import demo
from search import evolving
from vitnas import folder
from vitnas.cli.standings import show
from vitnas.cli.target import read_target
from vitnas.commands import commands, recorded
from vitnas.cost.table import LatencyTable
from vitnas.errors import InputError
from vitnas.interop import checkpoint
from vitnas.nn import vit
from vitnas.nn.saved import load_folder
from vitnas.report.contents import read_contents
from vitnas.runs import resumable
from vitnas.search import ledger
from vitnas.search.space_evolution import read_rounds

LAUGHS = "\n".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9 if i else 'ha'}]" for i in range(12))
WEIGHTS = {"cls_token": torch.ones(1, 1, 4), "head.bias": torch.zeros(3)}


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
@fuzz
def test_damaged_text(name: str, tmp_path: Path, data: st.DataObject) -> None:
    text, read = TEXTS[name]
    path = tmp_path / name
    path.write_bytes(data.draw(damaged(text.encode())))
    outcome(read, path)


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
@fuzz
def test_twisted_records(name: str, tmp_path: Path, data: st.DataObject) -> None:
    record, read = RECORDS[name]
    path = tmp_path / name
    path.write_text(json.dumps(data.draw(twisted(record))))
    outcome(read, path)


def copy_of_net(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a copy of a sound model folder, and its record."""
    saved = tmp_path / "net"
    saved = saved if saved.exists() else net(tmp_path)
    copied = Path(shutil.copytree(saved, tmp_path / "copy", dirs_exist_ok=True))
    return copied, json.loads((copied / "config.json").read_text())


@given(data=st.data())
@fuzz
def test_twisted_model_folders(tmp_path: Path, data: st.DataObject) -> None:
    copied, record = copy_of_net(tmp_path)
    (copied / "config.json").write_text(json.dumps(data.draw(twisted(record))))
    outcome(folder.load, copied)
    outcome(lambda path: read_target(str(path)), copied)
    outcome(load_alone, copied)


def load_alone(folder: Path) -> None:
    """Load a model folder as its own modeling.py does, which knows no error of vitnas."""
    try:
        load_folder(str(folder), vit.build)
    except ValueError as error:
        raise InputError(str(error)) from error


@given(data=st.data())
@fuzz
def test_twisted_models_are_refused_without_vitnas(tmp_path: Path, data: st.DataObject) -> None:
    """What `modeling.py` gives to the builder, and weights whose hash nobody knows."""
    copied, record = copy_of_net(tmp_path)
    record |= {"build": data.draw(twisted(record["build"]))}
    del record["weights"]
    (copied / "config.json").write_text(json.dumps(record))
    if data.draw(st.booleans()):
        weights = copied / "model.safetensors"
        weights.write_bytes(data.draw(damaged(weights.read_bytes())))
    outcome(load_alone, copied)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@given(data=st.data())
@fuzz
def test_damaged_weights(suffix: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / f"weights{suffix}"
    checkpoint.write(WEIGHTS, path)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    outcome(checkpoint.read, path)
    if suffix == ".safetensors":
        outcome(folder.read_weights, path)


@given(data=st.data())
@fuzz
def test_twisted_latency_tables(tmp_path: Path, data: st.DataObject) -> None:
    path = table(tmp_path)
    path.write_text(json.dumps(data.draw(twisted(json.loads(path.read_text())))))
    outcome(LatencyTable.load, path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = demo.make_run(tmp_path_factory.mktemp("run") / "run", trials=10)
    shutil.copytree(run / "searches" / "random", run / "space-evolution" / "round-0")
    (run / "rounds" / "0").mkdir(parents=True)
    shutil.copy(run / "metrics.jsonl", run / "rounds" / "0")
    with recorded(run, ["runs", "show"], {"run": str(run)}):
        (run / "config.yaml").touch()
    assert commands(run)
    return run


@given(data=st.data())
@fuzz
def test_damaged_runs(run: Path, data: st.DataObject) -> None:
    """What lists, shows and reports runs does so with the rest, or refuses."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.suffix != ".lock")
    path = data.draw(st.sampled_from(files))
    sound = path.read_bytes()
    if path.suffix == ".json" and data.draw(st.booleans()):
        path.write_text(json.dumps(data.draw(twisted(json.loads(sound)))))
    else:
        path.write_bytes(data.draw(damaged(sound)))
    try:
        outcome(read_contents, run)
        outcome(show, run)
        outcome(resumable, run)
        for study in sorted((run / "searches").iterdir()):
            outcome(ledger.read, study)
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("verb", ["train", "finetune", "search", "quickstart", "evolve-space"])
@given(data=st.data())
@fuzz
def test_twisted_commands_and_metrics(verb: str, run: Path, data: st.DataObject) -> None:
    """They tell of what runs, as far as is known, and how long it still takes."""
    (command,) = (run / "commands").glob("*.json")
    metrics = run / ("rounds/0" if verb == "evolve-space" else "") / "metrics.jsonl"
    sound = {path: path.read_bytes() for path in (command, metrics)}
    lines = [json.loads(line) for line in sound[metrics].splitlines()]
    record = json.loads(sound[command]) | {"words": [verb, str(run)], "host": "another"}
    record["arguments"] |= {"trials": 99, "rounds": 9, "subnets": 9, "later_epochs": 2}
    recipe = "digits" if verb == "evolve-space" else None
    record["arguments"] |= {"recipe": recipe, "model": str(run)}
    ended = {"ended": None, "code": None} if data.draw(st.booleans()) else {}
    record, lines[-3:] = data.draw(twisted([record | ended, lines[-3:]]).filter(_is_pair))
    try:
        command.write_text(json.dumps(record))
        metrics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        outcome(show, run)
        outcome(resumable, run)
    finally:
        for path, content in sound.items():
            path.write_bytes(content)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[1], list)


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evolved")
    evolving.run(folder, evolving.Toy(), rounds=1)
    return folder


@given(data=st.data())
@fuzz
def test_twisted_space_evolutions(evolved: Path, data: st.DataObject) -> None:
    path = evolved / data.draw(st.sampled_from(["settings.json", "round-0.json"]))
    sound = path.read_bytes()
    path.write_text(json.dumps(data.draw(twisted(json.loads(sound)))))
    try:
        outcome(read_rounds, evolved)
        outcome(lambda folder: evolving.run(folder, evolving.Toy(), rounds=1), evolved)
    finally:
        path.write_bytes(sound)


class Payload:
    """What an attacker puts into a pickle: a call, here of something that only leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._trace,))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_pickles_do_not_run(suffix: str, inside: bool, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / f"evil{suffix}"
    evil = {"model": WEIGHTS, "args": Payload(trace)} if inside else Payload(trace)
    if suffix == ".pth":
        torch.save(evil, path)
    else:
        path.write_bytes(pickle.dumps(evil))
    assert outcome(checkpoint.read, path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if suffix == ".pth" else pickle.loads(path.read_bytes())
    assert trace.exists(), "the payload has to be a real one"


@pytest.mark.parametrize("reader", ["space.yaml", "recipe.yaml", "arch.yaml"])
@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [touch trace]", "!!set {a, b}", "!x 1"]
)
def test_yaml_tags_do_not_run(
    reader: str, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / reader
    path.write_text(f"family: {tag}\ndepth: {tag}\n")
    assert outcome(TEXTS[reader][1], path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("reader", ["space.yaml", "recipe.yaml", "arch.yaml"])
def test_a_billion_laughs(reader: str, tmp_path: Path) -> None:
    """Aliases of aliases: small as a file, without end when written out, even in a message."""
    path = tmp_path / reader
    path.write_text(f"{LAUGHS}\nfamily: autoformer\ndepth: *a11\nspace: *a11\n")
    assert outcome(TEXTS[reader][1], path)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_deep_json(opened: str, tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    path.write_text(opened * 200_000)
    assert outcome(TEXTS["arch.json"][1], path)
    saved = net(tmp_path)
    (saved / "config.json").write_text(opened * 200_000)
    assert outcome(folder.load, saved)


@pytest.mark.parametrize(
    "header",
    [
        b"\xff" * 8,
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        *(
            struct.pack("<Q", len(lie)) + lie + bytes(16)
            for lie in (
                b'{"a":{"dtype":"F32","shape":[4000000000,4000000000],"data_offsets":[0,16]}}',
                b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99999]}}',
                b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}',
                b'{"a":{"dtype":"F9","shape":[4],"data_offsets":[0,16]}}',
                b'{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}',
                b"[" * 5000,
            )
        ),
    ],
)
def test_safetensors_headers_that_lie(header: bytes, tmp_path: Path) -> None:
    saved = net(tmp_path)
    (saved / "model.safetensors").write_bytes(header)
    assert outcome(folder.load, saved)
    assert outcome(checkpoint.read, saved / "model.safetensors")


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "a/../../b", "\x00"])
def test_paths_in_a_config_lead_nowhere(name: str, tmp_path: Path) -> None:
    """A model names no files: whatever path its record has, nothing but its own two are opened."""
    saved = net(tmp_path)
    record = json.loads((saved / "config.json").read_text())
    record.update(path=name, file=name, model_file=name)
    (saved / "config.json").write_text(json.dumps(record))
    folder.load(saved)
    record["kind"] = name
    (saved / "config.json").write_text(json.dumps(record))
    assert outcome(folder.load, saved)
