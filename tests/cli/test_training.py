"""`vitnas train`, `finetune` and `retrain`: what is written, and what a repetition leaves alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import vitnas
from vitnas import cli
from vitnas.folder import read_config
from vitnas.supernet import Supernet
from vitnas.train.reading import load_recipe

from .calling import STEPS, TUNE, call, files_in, refusal
from .conftest import Command
from .images import write_images


def test_a_trained_run_has_all_its_parts(trained: Path, recipe: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        *("config.yaml", "metrics.jsonl", "checkpoints", "cache", "supernet", "commands"),
    }
    assert load_recipe(trained / "config.yaml") == load_recipe(recipe)
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == [*range(1, STEPS + 1)]
    net = vitnas.load(trained / "supernet")
    assert isinstance(net, Supernet)
    assert net.space is not None
    assert net.space.size() == 40
    record = read_config(trained / "supernet")
    assert record["data"]["name"] == "digits"
    assert record["data"]["search_fraction"] == 0.15
    assert record["classes"] == list("0123456789")
    assert record["input"]["img_size"] == [8, 8]
    assert record["metrics"]["search"].keys() == {"top1_smallest", "top1_largest", "top1_random"}
    assert record["provenance"]["steps"] == STEPS


def test_the_last_line_says_where_the_supernet_is(
    recipe: Path, tmp_path: Path, command: Command
) -> None:
    words = ("--set", "epochs=1", "--set", "optim.warmup_epochs=0", "--set", "batch_size=512")
    result = command("train", recipe, tmp_path / "run", *words)
    assert (result.code, result.out) == (
        0,
        f"supernet written to {tmp_path / 'run' / 'supernet'}\n",
    )
    assert result.err.splitlines()[-1].startswith("epoch 1/1, loss ")
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (settings["epochs"], settings["batch_size"]) == (1, 512)


def test_training_again_is_said_to_be_done_and_changes_nothing(
    trained: Path, recipe: Path, command: Command
) -> None:
    before = files_in(trained)
    result = command("train", recipe, trained)
    assert result.code == 0
    assert result.out == f"supernet {trained / 'supernet'} is trained already; nothing to do\n"
    assert files_in(trained) == before


def test_a_supernet_lost_after_training_is_written_again(
    trained: Path, recipe: Path, tmp_path: Path, command: Command
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "supernet" / "config.json").unlink()
    assert command("train", recipe, run).out == f"supernet written to {run / 'supernet'}\n"
    assert files_in(run / "supernet") == files_in(trained / "supernet")


def test_a_supernet_without_its_training_state_is_not_replaced(
    trained: Path, recipe: Path, tmp_path: Path, command: Command
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained / "supernet", run / "supernet")
    before = files_in(run)
    assert refusal(command("train", recipe, run)) == (
        f"{run / 'supernet'} is a model already, and {run} has no training state to continue; "
        "name another folder"
    )
    assert files_in(run) == before


@pytest.fixture(scope="module")
def tuned(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The largest subnet, fine-tuned for an epoch; only for reading."""
    folder = tmp_path_factory.mktemp("tuned") / "model"
    assert call("finetune", searched / "models" / "largest", folder, *TUNE) == 0
    return folder


def test_finetuning_starts_from_the_inherited_weights(searched: Path, tuned: Path) -> None:
    record, source = read_config(tuned), read_config(searched / "models" / "largest")
    assert record["arch"] == source["arch"]
    assert record["data"] == source["data"]
    assert record["provenance"]["training"] == "fine-tuned"
    for kept in ("supernet", "space"):
        assert record["provenance"][kept] == source["provenance"][kept]
    assert record["metrics"]["search"].keys() == {"top1"}
    before = load_file(searched / "models" / "largest" / "model.safetensors")
    after = load_file(tuned / "model.safetensors")
    assert before.keys() == after.keys()
    near = [torch.allclose(after[name], before[name], atol=0.1) for name in before]
    assert all(near)
    assert not any(torch.equal(after[name], before[name]) for name in before if "weight" in name)


def test_finetuning_again_keeps_what_was_evaluated_since(
    searched: Path, tuned: Path, command: Command
) -> None:
    assert call("evaluate", tuned) == 0
    before = files_in(tuned)
    result = command("finetune", searched / "models" / "largest", tuned, *TUNE)
    assert result.out == f"fine-tuned model {tuned} is trained already; nothing to do\n"
    assert files_in(tuned) == before
    assert "top1" in read_config(tuned)["metrics"]["test"]


def test_retraining_forgets_the_weights(searched: Path, tmp_path: Path, command: Command) -> None:
    source, output = searched / "models" / "largest", tmp_path / "fresh"
    result = command("retrain", source, output, *TUNE, "--set", "optim.base_lr=1e-9")
    assert result.out == f"retrained from scratch model written to {output}\n"
    record, origin = read_config(output), read_config(source)["provenance"]
    assert record["arch"] == read_config(source)["arch"]
    assert record["provenance"]["training"] == "retrained from scratch"
    assert record["provenance"]["space"] == origin["space"]
    before, after = (load_file(folder / "model.safetensors") for folder in (source, output))
    name = "blocks.0.mlp.fc1.weight"
    assert not torch.allclose(after[name], before[name], atol=1e-2)
    assert after[name].std() == pytest.approx(0.02, rel=0.15)


def test_other_classes_another_image_size_and_other_data(
    searched: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "images", 37)
    monkeypatch.chdir(tmp_path)
    words = ("--data", "folder/images", "--set", "img_size=[8, 12]", "--set", "seed=3")
    source, output = searched / "models" / "random", tmp_path / "tuned"
    result = command("finetune", source, output, *TUNE, *words, "--set", "search_fraction=0.25")
    assert result.code == 0, result.err
    record = read_config(output)
    assert record["options"]["num_classes"] == 37
    assert record["options"]["img_size"] == [8, 12]
    assert record["input"]["img_size"] == [8, 12]
    assert record["input"]["mean"] == read_config(source)["input"]["mean"]
    assert (record["data"]["seed"], record["data"]["search_fraction"]) == (3, 0.25)
    assert record["provenance"]["search_top1"] == read_config(source)["provenance"]["search_top1"]
    model = vitnas.load(output)
    assert model(torch.zeros(2, 1, 8, 12)).shape == (2, 37)


def test_a_recipe_with_data_of_its_own_is_told(
    searched: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "images", 6)
    monkeypatch.chdir(tmp_path)
    quick = (*TUNE, "--set", "batch_size=4")
    other = (*quick, "--data", "folder/images", "--set", "search_fraction=0.25")
    source = searched / "models" / "random"
    assert "data is" not in command("finetune", source, tmp_path / "tuned", *other).err
    told = command("finetune", tmp_path / "tuned", tmp_path / "again", *TUNE).err
    assert (
        "data is digits, which the recipe names, not the model's folder/images; --data says"
    ) in told


def test_as_many_but_other_classes_get_a_new_head(
    searched: Path, tmp_path: Path, command: Command
) -> None:
    write_images(tmp_path / "images", 10)
    source, output = searched / "models" / "smallest", tmp_path / "tuned"
    words = ("--data", f"folder/{tmp_path / 'images'}", "--set", "optim.base_lr=1e-9")
    assert command("finetune", source, output, *TUNE, *words).code == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (source, output))
    changed = {n for n in before if not torch.allclose(before[n], after[n], atol=1e-5)}
    assert changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{run}", "{new}"), "{run} is a run, not a model; give one of {run}/models, which "
         "`vitnas extract {run}` makes, or {run}/supernet"),
        (("{new}", "{new}/x"), "{new} is no model folder: it has no config.json"),
        (("{run}/models/largest", "{run}/models/largest"), "{run}/models/largest is the model to "
         "start from; name another output folder"),
        (("{run}/models/largest", "{run}/models/smallest"), "{run}/models/smallest is a model "
         "already, and {run}/models/smallest has no training state to continue; name another "
         "folder"),
        (("{run}/models/largest", "{new}", "--set", "search_fraction=0.3"), "search_fraction is "
         "0.3, but the model was selected with 0.15 of digits held out; leave it out to keep this "
         "split"),
        (("{run}/models/largest", "{new}", "--data", "digits", "--set", "data=digits"),
         "data is given twice, by --data and by --set data=..."),
        (("{run}/models/largest", "{new}", "--recipe", "digits"), "recipe digits has a space or "
         "model options, but the model is that of {run}/models/largest; leave them out"),
        (("{run}/models/largest", "{new}", "--set", "img_size=9"),
         "img_size 9x9 is no multiple of patch_size 2; 10x10 would be"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["finetune", "retrain"])
def test_refusals_leave_everything_as_it_was(
    verb: str,
    words: tuple[str, ...],
    message: str,
    searched: Path,
    tmp_path: Path,
    command: Command,
) -> None:
    before = files_in(searched)
    names = {"run": searched, "new": tmp_path / "new"}
    given = ("--recipe", "digits-finetune", *(word.format(**names) for word in words))
    given = given[2:] if "--recipe" in words else given
    assert refusal(command(verb, *given)) == message.format(**names)
    assert files_in(searched) == before
    assert not (tmp_path / "new").exists()


def test_a_supernet_is_fine_tuned_on_other_data_and_searched_there(
    searched: Path, tmp_path: Path, command: Command
) -> None:
    """With other classes, image size and splits; and once more from the result to a report."""
    source, run = searched / "supernet", tmp_path / "run"
    data = f"folder/{write_images(tmp_path / 'images', 5)}"
    words = (*TUNE, "--set", "sampling.name=uniform", "--data", data, "--set", "img_size=[8, 12]")
    rate = ("--set", "optim.base_lr=1e-9", "--set", "batch_size=16")
    result = command("finetune", source, run, *words, *rate)
    assert result.out == f"fine-tuned supernet written to {run / 'supernet'}\n"
    record, before = read_config(run / "supernet"), read_config(source)
    assert (record["kind"], record["space"]) == ("supernet", before["space"])
    assert (record["options"]["num_classes"], record["options"]["img_size"]) == (5, [8, 12])
    assert record["provenance"]["training"] == "fine-tuned"
    assert (record["data"]["name"], len(record["classes"])) == (data, 5)
    old, new = (load_file(folder / "model.safetensors") for folder in (source, run / "supernet"))
    same = {
        n for n in old if old[n].shape == new[n].shape and torch.allclose(old[n], new[n], atol=1e-5)
    }
    resized = {name for name in old if name.endswith("_cols")} | {"pos_embed"}
    assert old.keys() - same == {"head.weight", "head.bias"} | resized
    again = command("finetune", source, run, *words, *rate)
    assert (
        again.out == f"fine-tuned supernet {run / 'supernet'} is trained already; nothing to do\n"
    )
    search = ("search", run, "--strategy", "random", "--trials", "2", "--max-params", "30k")
    assert command(*search).code == 0
    assert command("extract", run).code == 0
    found = run / "models" / "random"
    assert vitnas.load(found)(torch.zeros(2, 1, 8, 12)).shape == (2, 5)
    assert command("evaluate", found).code == 0
    assert command("report", run).code == 0


def test_supernets_and_recipes_that_do_not_fit(
    searched: Path, tmp_path: Path, command: Command
) -> None:
    supernet, model, new = searched / "supernet", searched / "models" / "largest", tmp_path / "new"
    plain = tmp_path / "plain"
    net: Any = vitnas.load(supernet)
    vitnas.save(vitnas.Supernet(None, largest=net.largest, **net.config.to_dict()), plain)
    for words, message in (
        (("finetune", supernet, new, "--recipe", "finetune"), f"{supernet} is a supernet; recipe "
         "finetune needs sampling (for example --set sampling.name=uniform), or extract a subnet "
         "first: `vitnas extract`"),
        (("finetune", model, new, "--recipe", "finetune-supernet"), f"{model} is an ordinary "
         "model; recipe finetune-supernet has sampling, which is for supernets"),
        (("finetune", model, new, "--set", "space=autoformer-tiny"), "recipe finetune has a space "
         f"or model options, but the model is that of {model}; leave them out"),
        (("retrain", supernet, new), f"{supernet} is a supernet; extract a subnet first: `vitnas "
         "extract`"),
        (("finetune", plain, new, "--data", "digits"), f"{plain} is a supernet without a search "
         "space; `vitnas convert --space` gives one to a foreign supernet"),
    ):  # fmt: skip
        assert refusal(command(*words)) == message
        assert not new.exists()


def test_the_verbs_are_functions_too(
    trained: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result: Any = cli.train(str(recipe), trained, device="cpu")
    assert result.finished
    assert (result.step, result.epochs) == (STEPS, 2)
    assert "trained already" in capsys.readouterr().out
