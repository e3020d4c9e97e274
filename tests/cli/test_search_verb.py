"""`vitnas search` and `vitnas extract`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import vitnas
from vitnas import cost
from vitnas.batch_size import SIZES
from vitnas.data.sources import open_data
from vitnas.folder import read_config
from vitnas.search.answer import best
from vitnas.search.ledger import read
from vitnas.search.searcher import STRATEGIES
from vitnas.supernet import Supernet

from .calling import files_in, refusal
from .conftest import Command
from .images import write_images


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def rows_of(text: str) -> list[list[str]]:
    """The rows of the table: trial, top-1, loss, params, MACs, and the genes in short."""
    return [line.split() for line in text.splitlines() if re.match(r" *\d+  ", line)]


def test_a_search_shows_its_best_and_shows_them_again(run: Path, command: Command) -> None:
    small = ("--set", "population=4", "--set", "mutants=2", "--set", "crossovers=2")
    words = ("search", run, "--trials", "8", *small, "--max-params", "9k")
    first = command(*words)
    assert first.code == 0
    settings, records = read(run / "searches" / "evolution")
    assert [record.state for record in records] == ["complete"] * 8
    assert settings.evaluated_on.startswith("search split of digits, 216 images, weights ")
    top = best(records)
    lines = first.out.splitlines()
    assert lines[0].strip() == "evolution: 8 subnets, top-1 on 216 search images"
    assert max(map(len, lines[:-1])) <= 80
    rows = rows_of(first.out)
    assert len(rows) == 5
    assert rows[0][:2] == [str(top.number), f"{top.score:.2f}"]
    assert all(int(row[3].replace(",", "")) <= 9000 for row in rows)
    assert vitnas.Arch.from_json(lines[-1].removeprefix("best: ")) == top.arch
    before = files_in(run / "searches")
    again = command(*words)
    assert (again.code, again.out) == (0, first.out)
    assert files_in(run / "searches") == before


def test_grid_says_how_many_it_will_evaluate_and_counts_to_there(
    run: Path, command: Command
) -> None:
    words = ("search", run, "--strategy", "grid", "--max-params", "9,000")
    result = command(*words)
    assert result.code == 0, result.err
    records = read(run / "searches" / "grid")[1]
    assert 0 < len(records) < 40
    lines = result.err.splitlines()
    assert lines[0] == f"grid search: {len(records)} of 40 architectures are feasible"
    assert f"{len(records)}/{len(records)}" in lines[-1]
    fewer = command(*words, "--name", "fewer", "--trials", "3")
    assert "3/3" in fewer.err.splitlines()[-1]


def test_racing_changes_neither_the_table_nor_the_best(run: Path, command: Command) -> None:
    small = ("--set", "population=8", "--set", "mutants=4", "--set", "crossovers=4")
    words = ("search", run, "--trials", "32", "--batch-size", "16", *small)
    raced = command(*words, "--name", "raced")
    whole = command(*words, "--name", "whole", "--racing", "off")
    states = [record.state for record in read(run / "searches" / "raced")[1]]
    assert {record.state for record in read(run / "searches" / "whole")[1]} == {"complete"}
    lines = raced.out.splitlines()
    told = lines.pop(-2)
    assert told == (
        f"{states.count('stopped')} subnets were stopped early: they can't be among these, nor on a"
        " front"
    )
    # losses are rounded to four digits, so the other order of the images does not show
    assert rows_of(raced.out) == rows_of(whole.out)
    assert lines[1:] == whole.out.splitlines()[1:]


def test_the_fastest_batch_size_is_measured_once(
    run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run / "cache" / "batch-size.json"
    path.unlink(missing_ok=True)
    words = ("search", run, "--strategy", "random", "--device", "cpu")
    assert refusal(command(*words, "--trials", "0"))
    assert command(*words, "--trials", "6").code == 0  # this search has ended already
    assert not path.exists()
    assert command(*words, "--trials", "7").code == 0
    ((key, size),) = json.loads(path.read_text()).items()
    assert key == f"cpu, {torch.get_num_threads()} threads, 216 images"
    assert size in SIZES
    monkeypatch.setattr("vitnas.batch_size.best_batch_size", None)
    assert command(*words, "--trials", "8").code == 0


def test_costs_and_scores_are_those_of_the_extracted_models(run: Path, command: Command) -> None:
    record = best(read(run / "searches" / "random")[1])
    model = run / "models" / "random"
    config = read_config(model)
    assert config["arch"] == record.arch.to_dict()
    assert cost.params(record.arch, **config["options"]) == record.metrics["params"]
    assert config["provenance"]["search_top1"] == record.score
    assert config["provenance"]["chosen"] == "best of 6 subnets by random search"
    assert command("evaluate", model, "--split", "search").code == 0
    assert read_config(model)["metrics"]["search"]["top1"] == record.score
    # the same images in another order, so another rounding of the sum
    loss = pytest.approx(record.metrics["loss"], rel=1e-6)
    assert read_config(model)["metrics"]["search"]["loss"] == loss


def test_several_searches_under_names_on_fewer_images(run: Path, command: Command) -> None:
    for seed in ("1", "2"):
        words = ("--strategy", "random", "--trials", "3", "--seed", seed, "--images", "50")
        result = command("search", run, *words, "--name", f"seed{seed}")
        assert result.out.splitlines()[0].strip() == (
            f"seed{seed}: 3 subnets, top-1 on 50 search images"
        )
    assert refusal(command("extract", run)) == (
        f"{run} has the searches random, seed1, seed2; name one with --search"
    )
    assert refusal(command("extract", run, "--search", "seed3")) == (
        "unknown search 'seed3'; did you mean 'seed2'? (allowed: random, seed1, seed2)"
    )
    result = command("extract", run, "--search", "seed2")
    assert result.out == f"seed2 subnet written to {run / 'models' / 'seed2'}\n"


def test_a_broken_image_is_left_out_when_asked(run: Path, tmp_path: Path, command: Command) -> None:
    name = f"folder/{write_images(tmp_path / 'images', 10)}"
    held = open_data(name).search
    broken = Path(held.source.where(int(held.indices[0])))
    broken.write_bytes(broken.read_bytes()[:-30])
    words = ("search", run, "--data", name, "--name", "pictures", "--trials", "1")
    refused = command(*words)
    assert refused.code == 2
    assert refused.err.splitlines()[-1].startswith(f"vitnas: can't read image {broken}: ")
    assert not (run / "searches" / "pictures").exists()
    result = command(*words, "--skip-broken", "yes")
    assert result.code == 0
    assert f"search split of {name}: skipped 1 broken images: {broken}" in result.err
    settings, _ = read(run / "searches" / "pictures")
    assert f"search split of {name}, {len(held) - 1} images, " in settings.evaluated_on


def test_a_lone_supernet_is_searched_where_it_lies(run: Path, command: Command) -> None:
    supernet = run / "supernet"
    assert command("search", supernet, "--strategy", "random", "--trials", "2").code == 0
    assert read(supernet / "searches" / "random")[1]
    assert command("extract", supernet, "--arch", "smallest").code == 0
    assert (supernet / "models" / "smallest" / "config.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-params", "1k"), "no architecture satisfies params <= 1k: the smallest in this "
         "space has {low}, the largest {high}"),
        (("--min-macs", "1G"), "no architecture satisfies macs >= 1G: the largest in this space "
         "has {most}, the smallest {least}"),
        (("--max-params", "9k", "--min-params", "1M"), "the limit on params is reversed: 1M is "
         "above 9k"),
        (("--max-params", "6X"), "'6X' has the unknown unit 'X' (allowed: k, K, M, G, B, T)"),
        (("--strategy", "evolutoin"), "unknown search strategy 'evolutoin'; did you mean "
         "'evolution'? (allowed: {strategies})"),
        (("--set", "poplation=3"), "unknown option of strategy evolution 'poplation'; did you mean "
         "'population'? (allowed: block_prob, crossovers, generations, initial, mutants, net_prob, "
         "parents, population, prior, reading)"),
        (("--set", "population=few"), "option population of strategy evolution is 'few': Input "
         "should be a valid integer, unable to parse string as an integer"),
        (("--set", "population"), "setting 'population' must look like path=value, e.g. "
         "optim.base_lr=1e-3"),
        (("--trials", "0"), "trials is 0; it must be at least 1"),
        (("--strategy", "random"), "random search ends only with the space of 40 architectures: "
         "give a number of trials"),
        (("--images", "217", "--trials", "1"), "can't take 217 images out of 216; give 1 to 216"),
        (("--data", "digist"), "unknown data 'digist'; did you mean 'digits'? (allowed: digits, "
         "fashion-mnist, folder/PATH, hfds/NAME, torch/cifar10, torch/cifar100, "
         "torch/fashion_mnist, torch/imagenet, torch/kmnist, torch/mnist, torch/places365, "
         "torch/qmnist, wds/PATH)"),
    ],
)  # fmt: skip
def test_refused_searches_leave_no_trace(
    words: tuple[str, ...], message: str, trained: Path, command: Command
) -> None:
    net = vitnas.load(trained / "supernet")
    assert isinstance(net, Supernet)
    assert net.space is not None
    options, ends = net.config.to_dict(), (net.space.smallest, net.space.largest)
    low, high = (f"{cost.params(arch, **options):,}" for arch in ends)
    least, most = (f"{cost.macs(arch, **options):,}" for arch in ends)
    costs = {"low": low, "high": high, "least": least, "most": most}
    costs["strategies"] = ", ".join(sorted(STRATEGIES))
    before = files_in(trained)
    assert refusal(command("search", trained, *words)) == message.format(**costs)
    assert files_in(trained) == before
    assert not (trained / "searches").exists()


def test_the_limits_of_a_search_stay(run: Path, command: Command) -> None:
    words = ("search", run, "--strategy", "random", "--trials", "7", "--max-params", "9k")
    assert refusal(command(*words)) == (
        f"{run / 'searches' / 'random'} holds a search with limits none, not params <= 9k; repeat "
        "it with the same limits to resume, or use another folder (--name)"
    )


def test_more_trials_continue_a_finished_search(run: Path, command: Command) -> None:
    before = read(run / "searches" / "random")[1]
    result = command("search", run, "--strategy", "random", "--trials", "7")
    assert result.code == 0
    after = read(run / "searches" / "random")[1]
    assert after[:6] == before
    assert len(after) == 7


def test_extracting_again_changes_nothing_but_something_else_is_not_replaced(
    run: Path, command: Command
) -> None:
    assert command("evaluate", run / "models" / "largest").code == 0
    before = files_in(run)
    result = command("extract", run, "--arch", "largest")
    assert result.out == f"largest subnet is in {run / 'models' / 'largest'} already\n"
    for words in (
        ("--arch", "smallest", "--output", run / "models" / "largest"),
        ("--arch", "smallest", "--output", run),
        ("--arch", "smallest", "--output", run / "supernet"),
    ):
        message = f"{words[-1]} holds something else; name another folder with --output"
        assert refusal(command("extract", run, *words)) == message
    assert files_in(run) == before


def test_an_unfinished_folder_is_written_anew(run: Path, command: Command) -> None:
    whole = files_in(run / "models" / "largest")
    (run / "models" / "largest" / "config.json").unlink()
    (run / "models" / "largest" / "model.safetensors").write_bytes(b"half")
    assert command("extract", run, "--arch", "largest").code == 0
    assert files_in(run / "models" / "largest") == whole


def test_archs_given_by_the_user(run: Path, tmp_path: Path, command: Command) -> None:
    net = vitnas.load(run / "supernet")
    assert isinstance(net, Supernet)
    assert net.space is not None
    arch = net.space.sample(5)
    (tmp_path / "mine.json").write_text(arch.to_json())
    for given, name in ((str(tmp_path / "mine.json"), "mine"), (arch.to_json(), "extracted")):
        result = command("extract", run, "--arch", given)
        assert result.out == f"{name} subnet written to {run / 'models' / name}\n"
        config = read_config(run / "models" / name)
        assert config["arch"] == arch.to_dict()
        assert config["provenance"]["chosen"] == "given"
        assert json.loads((run / "models" / name / "config.json").read_text())["metrics"] == {}
    refused = refusal(command("extract", run, "--arch", "autoformer-tiny"))
    assert "depth is 13, the space allows 1, 2;" in refused
