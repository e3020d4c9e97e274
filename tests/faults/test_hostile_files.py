"""Whatever a file from outside holds: it is read, or refused in one line; nothing in it runs.

Each reader gets a sound file, then damaged and hostile ones: bytes cut out, turned and put in, and
values replaced by what programs trip over.
"""

from __future__ import annotations

import copy
import json
import pickle
import resource
import shutil
import signal
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vitnas
from report import demo
from train.runs import small_net
from vitnas import folder
from vitnas.cli.target import read_arch, read_target
from vitnas.cost.conditions import Settings
from vitnas.cost.table import LatencyTable, TableError
from vitnas.errors import InputError
from vitnas.interop import checkpoint, cream, mmrazor, nni
from vitnas.report.contents import read_contents
from vitnas.search import ledger
from vitnas.standing import standing
from vitnas.train.metrics import read_metrics
from vitnas.train.reading import load_recipe

SPACE = "family: autoformer\ndepth: [1, 2]\nembed_dim: [16, 24]\nnum_heads: [1]\nmlp_ratio: [2]\n"
RECIPE = "space: autoformer-digits\ndata: digits\nepochs: 3\nlr: 1.0e-3\n"
LAUGHS = "\n".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9 if i else 'ha'}]" for i in range(12))
WEIGHTS = {"cls_token": torch.ones(1, 1, 4), "head.bias": torch.zeros(3)}

fuzz = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Read = Callable[[Path], object]


def outcome(read: Read, path: Path) -> str:
    """Return why a file was refused, in one line; nothing where it was read."""
    try:
        read(path)
    except InputError as error:
        refusal = str(error)
        assert refusal
        assert "\n" not in refusal
        assert len(refusal) <= 2_000
        return refusal
    return ""


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """Bytes cut out, turned or put in at a few places."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 40))
        new = draw(st.one_of(st.just(b""), st.binary(max_size=40)))
        content[at : at + length] = new
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


HOSTILE: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 10**30, 1e308, float("nan"), float("inf"), "", "../../etc/passwd", "\x00",
     "\x1b[31m", "<script>alert(1)</script>", "x" * 10_000, [], {}, [[[[]]]],
     {"a": {"b": {}}}, [1] * 999]
)  # fmt: skip


@st.composite
def twisted(draw: st.DrawFn, sound: Any) -> Any:
    """A value of JSON with a few of its parts replaced, taken out or added."""
    value = {"root": copy.deepcopy(sound)}
    for _ in range(draw(st.integers(1, 3))):
        place: Any = value
        key: Any = "root"
        while isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 4)):
            place = place[key]
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            key = draw(st.sampled_from(keys))
        if key != "root" and draw(st.integers(0, 3)) == 0:
            del place[key]
            if not place:
                break
        else:
            place[key] = copy.deepcopy(draw(HOSTILE))
    return value["root"]


def net(tmp: Path) -> Path:
    """Save a tiny model, and return its folder."""
    arch = vitnas.Arch("autoformer", depth=1, embed_dim=8, num_heads=(1,), mlp_ratio=(2,))
    model = vitnas.build(arch, num_classes=3, img_size=8, patch_size=4, in_chans=1, head_dim=8)
    vitnas.save(model, tmp / "net")
    return tmp / "net"


def table(tmp: Path) -> Path:
    """Save a table of latencies, and return its file."""
    settings = Settings("cpu", "a CPU", 2, "float32", "eager", 1, "torch")
    error = TableError(10, 0.01, 0.03, 0.0)
    return LatencyTable("autoformer", {"num_classes": 10}, settings, 0, 0.0, error, {}).save(
        tmp / "latency.json"
    )


TEXTS: dict[str, tuple[str, Read]] = {
    "space.yaml": (SPACE, vitnas.space),
    "recipe.yaml": (RECIPE, load_recipe),
    "arch.json": (vitnas.arch("autoformer-tiny").to_json(), lambda path: read_arch(str(path))),
    "arch.yaml": (
        json.dumps(nni.foreign(vitnas.arch("autoformer-tiny"))),
        lambda path: read_arch(str(path)),
    ),
    "metrics.jsonl": ('{"kind": "train", "step": 1, "loss": 2.5}\n' * 3, read_metrics),
}


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
@fuzz
def test_damaged_text(name: str, tmp_path: Path, data: st.DataObject) -> None:
    text, read = TEXTS[name]
    path = tmp_path / name
    path.write_bytes(data.draw(damaged(text.encode())))
    outcome(read, path)


RECORDS: dict[str, tuple[Any, Read]] = {
    "arch.json": (vitnas.arch("vitas-a").to_dict(), lambda path: read_arch(str(path))),
    "nni.json": (
        nni.foreign(vitnas.arch("autoformer-tiny")),
        lambda path: nni.arch(json.loads(path.read_text())),
    ),
    "mmrazor.json": (
        mmrazor.foreign(vitnas.arch("mmrazor-autoformer-base")),
        lambda path: mmrazor.arch(json.loads(path.read_text())),
    ),
    "cream.json": (
        cream.foreign(vitnas.arch("autoformer-tiny")),
        lambda path: cream.arch(json.loads(path.read_text())),
    ),
}


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
@fuzz
def test_twisted_records(name: str, tmp_path: Path, data: st.DataObject) -> None:
    record, read = RECORDS[name]
    path = tmp_path / name
    path.write_text(json.dumps(data.draw(twisted(record))))
    outcome(read, path)


@given(data=st.data())
@fuzz
def test_twisted_model_folders(tmp_path: Path, data: st.DataObject) -> None:
    saved = tmp_path / "net"
    saved = saved if saved.exists() else net(tmp_path)
    record = json.loads((saved / "config.json").read_text())
    copied = Path(shutil.copytree(saved, tmp_path / "copy", dirs_exist_ok=True))
    (copied / "config.json").write_text(json.dumps(data.draw(twisted(record))))
    outcome(folder.load, copied)
    outcome(lambda path: read_target(str(path)), copied)


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
    return demo.make_run(tmp_path_factory.mktemp("run") / "run", trials=10)


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
        outcome(standing, run)
        for study in sorted((run / "searches").iterdir()):
            outcome(ledger.read, study)
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


def every_part(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container of a value of JSON with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from every_part(value[key])


def sizes(record: Any) -> Iterator[None]:
    """Set every part of a record to numbers of which a program could try to make that many."""
    for place, key in every_part(record):
        sound = place[key]
        for number in (10**6, 10**9, 10**30):
            place[key] = number
            yield
        place[key] = sound


@contextmanager
def little_memory() -> Iterator[None]:
    """Allow 2 GiB beyond what is in use, and five seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])

    def too_slow(*args: object) -> None:
        raise AssertionError("it takes too long")

    previous = signal.signal(signal.SIGALRM, too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (2 << 30), hard))
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("name", RECORDS)
def test_giant_numbers_in_archs(name: str, tmp_path: Path) -> None:
    given, read = RECORDS[name]
    path, record = tmp_path / name, {"root": copy.deepcopy(given)}
    for _ in sizes(record):
        path.write_text(json.dumps(record["root"]))
        with little_memory():
            outcome(read, path)


def test_giant_numbers_in_spaces(tmp_path: Path) -> None:
    path, record = tmp_path / "space.yaml", yaml.safe_load(SPACE)
    for _ in sizes(record):
        path.write_text(yaml.safe_dump(record))
        with little_memory():
            outcome(lambda path: vitnas.space(path).sample(0), path)


@pytest.mark.parametrize("kind", ["model", "supernet"])
def test_giant_numbers_in_model_folders(kind: str, tmp_path: Path) -> None:
    """What a config asks for is not made before it is compared with the weights."""
    saved = net(tmp_path) if kind == "model" else vitnas.save(small_net(), tmp_path / "net")
    config = saved / "config.json"
    record = json.loads(config.read_text())
    for _ in sizes(record):
        config.write_text(json.dumps(record))
        with little_memory():
            outcome(folder.load, saved)


@pytest.mark.parametrize("name", ["arch.json", "arch.yaml", "space.yaml", "recipe.yaml"])
def test_giant_files(name: str, tmp_path: Path) -> None:
    """They are refused before what they hold fills the memory."""
    path = tmp_path / name
    with path.open("w") as file:
        file.write("[" + "[]," * 6_000_000 + "[]]")
    tracemalloc.start()
    try:
        refusal = outcome(TEXTS[name][1], path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refusal.endswith(f"{path}: it has more than {16 if '.json' in name else 1} MiB")
    assert peak < 2 * path.stat().st_size


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
