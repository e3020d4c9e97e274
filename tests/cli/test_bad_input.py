"""Mistakes of users: one clear line each, exit code 2, and nothing half-written."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import vitnas
from interop.recorded import write_checkpoint
from vitnas.interop import cream
from vitnas.interop.convert import SOURCES
from vitnas.models import FAMILIES
from vitnas.train.reading import recipes

from .calling import files_in, refusal
from .conftest import Command
from .images import write_images

TUNE = ("--recipe", "digits-finetune")
CUDA = torch.cuda.is_available()
NO_SYSTEM = f"these are weights of no known system ({', '.join(SOURCES)}): weight"


def genes(**changes: Any) -> str:
    """An arch as JSON with some genes replaced."""
    good = {"depth": 2, "embed_dim": 16, "num_heads": [1, 2], "mlp_ratio": [1, 2]}
    record = {"version": 1, "family": "autoformer", "genes": {**good, **changes}}
    return json.dumps(record)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (genes(depth=-1, num_heads=[], mlp_ratio=[]),
         "autoformer architecture: depth is -1, it must be a whole number from 1"),
        (genes(embed_dim=-3, num_heads=[1]),
         "autoformer architecture: num_heads has 1 values, the depth is 2; embed_dim is -3, it "
         "must be positive"),
        (genes(num_heads=[1, 1.5]),
         "autoformer architecture: num_heads is (1, 1.5), it must be whole"),
        (genes(mlp_ratio=3),
         "autoformer architecture: mlp_ratio is 3, it must be 2 values, one a layer"),
        (genes(mlp_ratio=[1, None]),
         "gene mlp_ratio is None; a gene is a number, a string or a sequence of them"),
        (genes(hidden_dim=3), "autoformer architecture: hidden_dim is no gene"),
        (genes().replace("autoformer", "autoforner"),
         "unknown model family 'autoforner'; did you mean 'autoformer'? (allowed: "
         f"{', '.join(sorted(FAMILIES))})"),
        (genes().replace('"version": 1', '"version": 9'),
         "this architecture has format version 9, this vitnas reads version 1"),
        ("{}", "not an architecture: it needs the fields version, family and genes"),
    ],
)  # fmt: skip
def test_wrong_fields_of_an_arch(arch: str, message: str, tmp_path: Path, command: Command) -> None:
    assert refusal(command("profile", arch, "--img-size", "32")) == message
    file = tmp_path / "mine.json"
    file.write_text(arch)
    told = refusal(command("profile", file, "--img-size", "32"))
    assert told.removeprefix(f"{file}: ") == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read {file}: No such file or directory"),
        (b"{", "{file} is not valid JSON: Expecting property name enclosed in double quotes: "
         "line 1 column 2 (char 1)"),
        (b"\xff\xfe\x00", "{file} is not valid JSON: 'utf-16-le' codec can't decode byte 0x00 in "
         "position 2: truncated data"),
        (b"[1]", "{file}: not an architecture: it needs the fields version, family and genes"),
    ],
)  # fmt: skip
def test_arch_files_that_cannot_be_read(
    content: bytes | None, message: str, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "mine.json"
    if content is not None:
        file.write_bytes(content)
    assert refusal(command("profile", file)) == message.format(file=file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--set epochs=x --set seeed=1", "recipe digits: epochs is \"x\", it should be a valid "
         "integer; seeed is no setting; did you mean seed?"),
        ("--set epochs=1", "recipe digits: epochs is 1, it must be more than optim.warmup_epochs, "
         "3"),
        ("--set optim.base_lr=0", "recipe digits: optim: base_lr is 0.0, it must be above 0"),
        ("--set sampling.name=sandwitch", "recipe digits: sampling.name is \"sandwitch\", it "
         "should be 'uniform', 'sandwich', 'stratified', 'bcnet' or 'official'"),
        ("--set epochs", "setting 'epochs' must look like path=value, e.g. optim.base_lr=1e-3"),
        ("--set model.sharing=prefx", "unknown sharing policy 'prefx'; did you mean 'prefix'? "
         "(allowed: bilateral, centre, independent, legacy, prefix, ranked, suffix)"),
        ("--set model.qk_norn=true --set model.relative_position=false", "unknown autoformer "
         "option 'qk_norn'; did you mean 'qk_norm'? (allowed: "),
        ("--set model.num_classes=3", "model.num_classes can't be set: it follows from the data, "
         "the space, and the recipe's img_size, input and drop_path"),
        ("--set model=3", "recipe digits: model is 3, it should be a mapping"),
        ("--set img_size=9", "img_size 9x9 is no multiple of patch_size 2; 10x10 would be"),
        ("--set batch_size=100000", "batch_size is 100000, but an epoch has only 1222 training "
         "images for each of 1 processes; make it smaller"),
        ("--set precision=16-mixed --device cpu", "precision 16-mixed needs a GPU; on cpu use "
         "32-true or bf16-mixed"),
        ("--set space=null", "the recipe has no space; known names: "),
        ("--space autoformer-digit", "unknown search space 'autoformer-digit'; did you mean "
         "'autoformer-digits'? (allowed: "),
        ("--space nowhere.yaml", "can't read search space nowhere.yaml: "),
        ("--data digist", "unknown data 'digist'; did you mean 'digits'? (allowed: digits, "),
        ("--data torch/cifar", "unknown data 'torch/cifar'; did you mean 'torch/cifar10'? "),
        ("--data folder/nowhere", "there is no folder nowhere; folder/PATH takes a folder that has "
         "one folder of images for each class, or train and val folders of such"),
        ("--data digits --set data=digits", "data is given twice, by --data and by --set data=..."),
        ("--device gpu", "no device 'gpu' here; available: auto, cpu"),
        ("--device cuda:99", "no device 'cuda:99' here; available: auto, cpu"),
    ],
)  # fmt: skip
def test_wrong_settings_and_names_in_training(
    words: str, message: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = refusal(command("train", "digits", "run", *words.split()))
    assert told == message or (message.endswith((" ", "cpu")) and told.startswith(message))
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(CUDA, reason="needs a machine without CUDA")
@pytest.mark.parametrize("verb", ["train", "search", "evaluate", "finetune"])
def test_cuda_where_there_is_none(
    verb: str, recipe: Path, searched: Path, tmp_path: Path, command: Command
) -> None:
    words = {
        "train": (recipe, tmp_path / "new"),
        "search": (searched, "--trials", "1"),
        "evaluate": (searched / "models" / "largest",),
        "finetune": (searched / "models" / "largest", tmp_path / "new", *TUNE),
    }
    before = files_in(searched)
    told = refusal(command(verb, *words[verb], "--device", "cuda"))
    assert told.startswith("no device 'cuda' here; available: auto, cpu")
    assert files_in(searched) == before
    assert not (tmp_path / "new").exists()


def test_recipes_that_cannot_be_read(tmp_path: Path, command: Command) -> None:
    assert refusal(command("train", "digts", tmp_path / "run")) == (
        f"unknown recipe 'digts'; did you mean 'digits'? (allowed: {', '.join(recipes())})"
    )
    file = tmp_path / "mine.yaml"
    message = f"can't read recipe {file}: No such file or directory"
    assert refusal(command("train", file, tmp_path / "run")) == message
    file.write_text("data: [digits")
    told = refusal(command("train", file, tmp_path / "run"))
    assert told.startswith(f"recipe {file} is not valid YAML: while parsing a flow sequence")
    file.write_text("- digits")
    message = f"recipe {file} must be a mapping of settings, not ['digits']"
    assert refusal(command("train", file, tmp_path / "run")) == message
    file.write_text("data: digits\nspace: {family: autoformer, depth: [1], embed_dim: [8]}\n")
    message = "space of the recipe: mlp_ratio, num_heads missing"
    assert refusal(command("train", file, tmp_path / "run")) == message
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_recipe_without_data(tmp_path: Path, command: Command) -> None:
    message = "recipe autoformer-tiny names no data: give --data, for example --data digits"
    assert refusal(command("train", "autoformer-tiny", tmp_path / "run")) == message


def test_an_image_folder_without_classes(recipe: Path, tmp_path: Path, command: Command) -> None:
    images = write_images(tmp_path / "images", 1) / "class00"
    told = refusal(command("train", recipe, tmp_path / "run", "--data", f"folder/{images}"))
    assert told == (
        f"{images} has no class folders; put the images of each class in a folder of its own, as "
        f"in {images / 'CLASS' / 'image.jpg'}"
    )
    assert not (tmp_path / "run").exists()


def test_truncated_images(recipe: Path, trained: Path, tmp_path: Path, command: Command) -> None:
    """All images of a class are cut, so that one is in every split."""
    images = write_images(tmp_path / "images", 3)
    for file in (images / "class01").iterdir():
        file.write_bytes(file.read_bytes()[:-30])
    words = ("--data", f"folder/{images}", "--set", "batch_size=8")
    result = command("train", recipe, tmp_path / "run", *words)
    assert (result.code, result.out) == (2, "")
    decoding, told = result.err.splitlines()
    assert decoding.startswith("decoding 6 images into ")
    assert told.startswith(f"vitnas: can't read image {images / 'class01'}/")
    assert told.endswith(
        ": image file is truncated; replace or delete it; training skips it with --set "
        "skip_broken=true, other commands with --skip-broken yes"
    )
    assert files_in(tmp_path / "run") == {}


def test_truncated_images_can_be_left_out(recipe: Path, tmp_path: Path, command: Command) -> None:
    images = write_images(tmp_path / "images", 3)
    broken = images / "class01" / "3.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    run, words = tmp_path / "run", ("--set", "batch_size=8", "--set", "skip_broken=true")
    result = command("train", recipe, run, "--data", f"folder/{images}", *words)
    assert result.code == 0, result.err
    assert f"skipped 1 broken images: {broken}" in result.err
    assert command("search", run, "--strategy", "random", "--trials", "1").code == 0
    assert command("extract", run).code == 0
    assert command("evaluate", run / "models" / "random").code == 0


def checkpoint(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_checkpoints_that_are_none_or_someone_elses(tmp_path: Path, command: Command) -> None:
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "lying.safetensors").write_bytes(lying_header())
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    checkpoint(tmp_path / "empty.pth", {"epoch": 3})
    messages = {
        "nowhere.pth": "there is no checkpoint {path}",
        "text.pth": "{path} is damaged, or no checkpoint of torch or safetensors",
        "lying.safetensors": "{path} is damaged, or no checkpoint of torch or safetensors",
        "other.safetensors": NO_SYSTEM,
        "empty.pth": "{path} holds no state dict: epoch are no tensors",
    }
    for name, message in messages.items():
        path = tmp_path / name
        told = refusal(command("convert", path, tmp_path / "net"))
        assert told == message.format(path=path)
        assert not (tmp_path / "net").exists()


def lying_header() -> bytes:
    """A safetensors file whose header announces more than there is."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * 8


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_with_code_in_it_never_runs(tmp_path: Path, command: Command) -> None:
    trace = tmp_path / "trace"
    first = checkpoint(tmp_path / "a.pth", {"model": {}, "x": Bomb(trace)})
    second = tmp_path / "b.pth"
    second.write_bytes(pickle.dumps(Bomb(trace)))
    told = refusal(command("convert", first, tmp_path / "net"))
    assert told.startswith(f"{first} holds Python objects that could run code (")
    assert told.endswith("vitnas loads tensors only: save the state dict alone")
    assert str(second) in refusal(command("convert", second, tmp_path / "net"))
    assert not trace.exists()
    pickle.loads(second.read_bytes())
    assert trace.exists(), "the bomb of this test is none"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "{model}/config.json is not valid JSON: Expecting property name "),
        ("config.json", b"{}", "{model}/config.json is no vitnas model of format 1"),
        ("config.json", None, "{model} is no model folder: it has no config.json"),
        ("model.safetensors", b"x", "can't read weights {model}/model.safetensors: "),
        ("model.safetensors", lying_header(), "can't read weights {model}/model.safetensors: "),
        ("model.safetensors", None, "can't read weights {model}/model.safetensors: "),
    ],
)
def test_damaged_model_folders(
    name: str, content: bytes | None, message: str, run: Path, tmp_path: Path, command: Command
) -> None:
    model = run / "models" / "largest"
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    for words in (("evaluate", model), ("finetune", model, tmp_path / "new", *TUNE)):
        assert refusal(command(*words)).startswith(message.format(model=model))
    assert not (tmp_path / "new").exists()


def test_weights_of_another_model(run: Path, command: Command) -> None:
    largest, smallest = run / "models" / "largest", run / "models" / "smallest"
    shutil.copy(smallest / "model.safetensors", largest)
    told = refusal(command("evaluate", largest))
    assert told.startswith(f"{largest}: weights don't fit the config: ")


def test_training_into_the_run_of_another_space(recipe: Path, run: Path, command: Command) -> None:
    before = files_in(run)
    told = refusal(command("train", recipe, run, "--set", "space.depth=[2]"))
    assert told.startswith(f"{run} holds another run (space.depth was [1, 2], is [2]; ")
    assert told.endswith("; restore these settings or choose another folder")
    assert files_in(run) == before


def test_a_search_of_another_space_and_of_other_weights(
    recipe: Path, run: Path, tmp_path: Path, command: Command
) -> None:
    words = ("--set", "epochs=1", "--set", "optim.warmup_epochs=0", "--set", "batch_size=512")
    for name, setting in (("space", "space.depth=[2]"), ("weights", "seed=3")):
        other = tmp_path / name
        assert command("train", recipe, other, *words, "--set", setting).code == 0
        shutil.rmtree(run / "supernet")
        shutil.copytree(other / "supernet", run / "supernet")
        before = files_in(run)
        result = command("search", run, "--strategy", "random", "--trials", "7")
        assert (result.code, result.out) == (2, "")
        folder = run / "searches" / "random"
        start = f"vitnas: {folder} holds a search with space autoformer (depth (1, 2)), not "
        if name == "weights":
            start = f"vitnas: {folder} holds a search with evaluated_on 'search split of digits, "
        assert result.err.splitlines()[-1].startswith(start)
        assert {n: c for n, c in files_in(run).items() if n in before} == before


def test_half_trained_supernets(trained: Path, tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained / "checkpoints", run / "checkpoints")
    message = f"the supernet in {run} is not trained to the end; repeat `vitnas train`"
    assert refusal(command("search", run)) == message
    assert refusal(command("extract", run, "--arch", "largest")) == message
    assert {path.name for path in run.iterdir()} == {"checkpoints"}


def test_no_supernet_at_all(searched: Path, tmp_path: Path, command: Command) -> None:
    message = f"{tmp_path} holds no supernet; make one with `vitnas train` or `vitnas convert`"
    assert refusal(command("search", tmp_path)) == message
    model = searched / "models" / "largest"
    assert refusal(command("search", model, "--trials", "1")) == (
        f"{model} is no supernet with a search space; `vitnas convert --space` gives one to a "
        "foreign supernet"
    )
    assert refusal(command("extract", model, "--arch", "largest")) == f"{model} is no supernet"


def test_extraction_before_search(trained: Path, command: Command) -> None:
    message = f"{trained} has no search yet; run `vitnas search {trained}` first"
    assert refusal(command("extract", trained)) == message
    assert not (trained / "models").exists()


def test_extraction_of_nothing(run: Path, command: Command) -> None:
    assert refusal(command("extract", run, "--search", "evolution")) == (
        "unknown search 'evolution' (allowed: random)"
    )
    words = ("--strategy", "random", "--trials", "1", "--name", "broken", "--batch-size", "0")
    assert refusal(command("search", run, *words)) == "batch_size is 0, it must be 1 or more"
    message = f"search broken in {run} has evaluated no subnet yet; repeat it"
    assert refusal(command("extract", run, "--search", "broken")) == message


def test_a_file_where_a_folder_should_be(
    recipe: Path, run: Path, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    official = write_checkpoint(tmp_path / "official.pth")
    for words in (
        ("train", recipe, file),
        ("finetune", run / "models" / "largest", file, *TUNE),
        ("extract", run, "--arch", "smallest", "--output", file),
        ("convert", official, file),
    ):
        told = refusal(command(*words))
        assert told.startswith(f"can't write {file}")
        assert file.read_text() == "mine"


def test_unsearchable_arch_of_the_user_is_told_every_fault(run: Path, command: Command) -> None:
    net = vitnas.load(run / "supernet")
    arch = vitnas.Arch("autoformer", depth=1, embed_dim=20, num_heads=(3,), mlp_ratio=(1,))
    assert isinstance(net, vitnas.Supernet)
    told = refusal(command("extract", run, "--arch", arch.to_json()))
    assert "embed_dim is 20, the space allows 16, 24" in told
    assert "num_heads[0] is 3, the space allows 1, 2" in told


def test_descriptions_of_no_system_are_not_taken_for_archs(command: Command) -> None:
    theirs = cream.foreign(vitnas.arch("autoformer-tiny"))
    del theirs["layer_num"]
    message = "not an architecture: it needs the fields version, family and genes"
    assert refusal(command("profile", json.dumps(theirs))) == message
