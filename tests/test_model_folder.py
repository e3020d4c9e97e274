"""Model folders: round trips of both kinds, and every way in which a folder can be wrong."""

from __future__ import annotations

import json
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import vitnas
from standalone import modeling
from vitnas import files, folder
from vitnas.errors import InputError
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing import models

SPACE = Space(
    "autoformer",
    (
        Choice("depth", (1, 2)),
        Choice("mlp_ratio", (1.0, 2.0), "block"),
        Choice("num_heads", ((1, 2), (2,)), "block"),
        Choice("embed_dim", (16, 24)),
    ),
    name="toy",
)
OPTIONS: dict[str, Any] = {"num_classes": 5, "img_size": 16, "patch_size": 8, "head_dim": 8}
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def make(sharing: Any = "prefix", **options: Any) -> Supernet:
    return models.make(SPACE, sharing, **{**OPTIONS, **options})[0]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder of a static model."""
    return vitnas.save(make().extract(SPACE.largest), tmp_path / "model")


@pytest.mark.parametrize(
    ("sharing", "options"),
    [
        ("prefix", {}),
        ("legacy", {"drop_path_rate": 0.1, "img_size": (16, 24)}),
        ({"*": "suffix", "hidden": "independent"}, {"relative_position": False}),
        ("independent", {"num_classes": 0, "fixed_attn_dim": 16, "relative_position": False}),
    ],
)
def test_supernets_round_trip(sharing: Any, options: dict[str, Any], tmp_path: Path) -> None:
    net = make(sharing, **options).train()
    back = vitnas.load(vitnas.save(net, tmp_path / "net"))
    assert isinstance(back, Supernet)
    assert not back.training
    assert (back.space, back.largest, back.config) == (net.space, net.largest, net.config)
    assert back.space is not None
    assert back.space.name == "toy"
    assert back.sharing == net.sharing
    images = torch.randn(2, 3, *net.config.img_size)
    for seed in range(3):
        arch = SPACE.sample(seed)
        assert torch.equal(back(images, arch), net.eval()(images, arch))


def test_a_supernet_without_a_space_round_trips(tmp_path: Path) -> None:
    net = Supernet(None, largest=SPACE.largest, **OPTIONS).eval()
    back = vitnas.load(vitnas.save(net, tmp_path / "net"))
    assert isinstance(back, Supernet)
    assert back.space is None
    odd = SPACE.smallest.replace(embed_dim=9)
    assert torch.equal(back(IMAGES, odd), net(IMAGES, odd))


@pytest.mark.parametrize("family", ["autoformer", "vit"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_static_models_round_trip_with_and_without_vitnas(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = vitnas.build(vitnas.Arch(family, **SPACE.largest), **OPTIONS).to(dtype).eval()
    path = vitnas.save(model, tmp_path / "model")
    assert sorted(file.name for file in path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "modeling.py",
    ]
    images = IMAGES.to(dtype)
    for back in (vitnas.load(path), modeling(path).load(str(path))):
        assert type(back) is type(model)
        assert not back.training
        assert torch.equal(back(images), model(images))


def test_a_loaded_model_is_saved_again_as_it_was(saved: Path, tmp_path: Path) -> None:
    again = vitnas.save(vitnas.load(saved), tmp_path / "again")
    for name in ("config.json", "model.safetensors", "modeling.py"):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_information_is_kept_and_updated(tmp_path: Path) -> None:
    model = make().extract(SPACE.smallest)
    path = vitnas.save(model, tmp_path / "model", classes=["a", "b"], metrics={"top1": 90.0})
    folder.update_config(path, metrics={"top5": 99.0}, classes=["c"])
    record = folder.read_config(path)
    assert record["metrics"] == {"top1": 90.0, "top5": 99.0}
    assert record["classes"] == ["c"]
    assert torch.equal(vitnas.load(path)(IMAGES), model(IMAGES))


def test_loading_leaves_the_generator_alone(saved: Path) -> None:
    state = torch.random.get_rng_state()
    vitnas.load(saved)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_only_models_of_vitnas_are_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't save a Linear: only models of vitnas\.build"):
        vitnas.save(nn.Linear(1, 1), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_information_that_is_no_json_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        vitnas.save(make().extract(SPACE.smallest), tmp_path / "model", metrics={"x": object()})
    assert not (tmp_path / "model").exists()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 4 kB, as on a disk that is nearly full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_one_line_and_leaves_no_partial_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't write .*model\.safetensors: .*File too large"):
        vitnas.save(make().extract(SPACE.largest), tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


def test_a_failure_over_an_old_model_keeps_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def failing(state: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "save_file", failing)
    with pytest.raises(InputError, match="No space left on device"):
        vitnas.save(make().extract(SPACE.smallest), saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize("alike", [False, True])
def test_a_save_over_another_model_that_was_killed_is_refused(
    saved: Path, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between the files the weights are of the new model and the config is not."""
    new = make().extract(SPACE.largest if alike else SPACE.smallest).eval()
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(1)
    write = files.write

    def killed(path: Path, content: Any) -> None:
        write(path, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            vitnas.save(new, saved)
    message = (
        "model.safetensors is not what was saved with config.json, as when saving over another"
        if alike
        else "weights don't fit the config: "
    )
    with pytest.raises(InputError, match=re.escape(message)):
        vitnas.load(saved)
    folder.update_config(saved, metrics={"top1": 90.0})
    with pytest.raises(InputError, match=re.escape(message)):
        vitnas.load(saved)
    vitnas.save(new, saved)
    assert torch.equal(vitnas.load(saved)(IMAGES), new(IMAGES))


def test_older_folders_and_weights_from_elsewhere_load(saved: Path) -> None:
    """Whoever replaces the weights drops their fingerprint, which older folders don't have."""
    record, weights = record_of(saved), load_file(saved / "model.safetensors")
    assert record.pop("weights") not in json.dumps(folder.read_config(saved))
    weights = {name: tensor + 1 for name, tensor in weights.items()}
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(InputError, match=r"drop 'weights' from config\.json if the weights"):
        vitnas.load(saved)
    alone = modeling(saved)
    with pytest.raises(ValueError, match=r"drop 'weights' from config\.json if it was replaced"):
        alone.load(str(saved))
    files.write_json(saved / "config.json", record)
    for back in (vitnas.load(saved), alone.load(str(saved))):
        for name, tensor in back.state_dict().items():
            assert torch.equal(tensor, weights[name])


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write .*file/model\.safetensors"):
        vitnas.save(make().extract(SPACE.smallest), tmp_path / "file")


def test_missing_folders_and_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is no model folder: it has no config\.json"):
        vitnas.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"safetensors is a file, not a model folder; vitnas"):
        vitnas.load(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"can't read weights .*model\.safetensors"):
        vitnas.load(saved)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights(saved: Path, keep: int) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"can't read weights .*model\.safetensors"):
        vitnas.load(saved)


def test_a_pickle_under_the_name_of_weights_is_not_unpickled(saved: Path) -> None:
    torch.save({"a": torch.zeros(1)}, saved / "model.safetensors")
    with pytest.raises(InputError, match="can't read weights"):
        vitnas.load(saved)


def test_foreign_weights_are_listed(saved: Path) -> None:
    save_file({"weight": torch.zeros(1)}, saved / "model.safetensors")
    with pytest.raises(InputError, match=r"cls_token missing; .*; and 36 more$"):
        vitnas.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("head.bias"), "weights don't fit the config: head.bias missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra unexpected"),
        (lambda w: w.update({"head.bias": torch.zeros(3)}), "head.bias is (3,), expected (5,)"),
        (
            lambda w: w.update({"head.bias": torch.zeros(5, dtype=torch.int64)}),
            "head.bias is torch.int64, expected torch.float32",
        ),
        (lambda w: w.clear(), "cls_token missing"),
    ],
)
def test_misfitting_weights(saved: Path, change: Any, message: str) -> None:
    weights = load_file(saved / "model.safetensors")
    change(weights)
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(InputError, match=re.escape(message)):
        vitnas.load(saved)


def record_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "config.json").read_text())
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vitnas": 2}, "config.json is no vitnas model of format 1"),
        ({"vitnas": None}, "config.json is no vitnas model of format 1"),
        ({"kind": "supernet"}, "config.json is damaged: KeyError('space')"),
        ({"kind": "ensemble"}, "unknown kind of model 'ensemble' (allowed: model, supernet)"),
        ({"arch": None}, "not an architecture: it needs the fields"),
        ({"arch": {"version": 1, "family": "autoformer", "genes": {}}}, "depth is None"),
        ({"arch": {"version": 1, "family": "x", "genes": {}}}, "unknown model family 'x'"),
        ({"options": None}, "config.json is damaged"),
        ({"options": ["abc"]}, "config.json is damaged"),
        ({"options": {"classes": 3}}, "unknown autoformer option 'classes'"),
        ({"options": {"num_classes": "5"}}, "num_classes is '5'; it must be a whole number"),
    ],
)
def test_damaged_configs(saved: Path, changes: dict[str, Any], message: str) -> None:
    files.write_json(saved / "config.json", {**record_of(saved), **changes})
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        vitnas.load(saved)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("missing", ["kind", "arch", "options", "vitnas"])
def test_configs_with_a_missing_key(saved: Path, missing: str) -> None:
    record = record_of(saved)
    del record[missing]
    files.write_json(saved / "config.json", record)
    with pytest.raises(InputError, match=r"config\.json"):
        vitnas.load(saved)


@pytest.mark.parametrize("missing", ["largest", "space", "sharing", "options"])
def test_supernet_configs_with_a_missing_key(missing: str, tmp_path: Path) -> None:
    path = vitnas.save(make(), tmp_path / "net")
    record = record_of(path)
    del record[missing]
    files.write_json(path / "config.json", record)
    with pytest.raises(InputError, match=f"config.json is damaged: KeyError.'{missing}'"):
        vitnas.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_configs_that_are_no_record(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        vitnas.load(saved)


scalars = st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=4)
lists = st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=4), scalars, max_size=2)


@given(st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_damage_to_a_config_is_an_input_error(saved: Path, data: st.DataObject) -> None:
    """Whatever replaces one value of the record: it loads, or it is refused."""
    original = (saved / "config.json").read_text()
    record = json.loads(original)
    place, key = record, data.draw(st.sampled_from(sorted(record)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(scalars | lists)
    (saved / "config.json").write_text(json.dumps(record))
    try:
        with suppress(InputError):
            vitnas.load(saved)
    finally:
        (saved / "config.json").write_text(original)
