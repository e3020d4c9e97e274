"""`vitnas spaces`, `archs` and `profile`, which need no run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

import vitnas
from vitnas import cost
from vitnas.interop import mmrazor, nni
from vitnas.interop.originals import SOURCES
from vitnas.report.figures.style import quantity
from vitnas.zoo import entries

from .calling import refusal
from .conftest import Command

COUNTED = ("--latency", "off")


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def cells(text: str) -> list[list[str]]:
    """The words of every line, columns apart from each other by two blanks or more."""
    lines = [line.rstrip().replace("  ", "\t").split("\t") for line in text.splitlines()]
    return [[cell.strip() for cell in line if cell.strip()] for line in lines]


def test_spaces_are_listed_with_their_extremes(command: Command) -> None:
    result = command("spaces")
    assert result.code == 0
    rows = cells(result.out)
    assert ["autoformer-tiny", "1.06e+09", "5.37M to 10.5M", "1.35G to 2.54G"] in rows
    assert [row[0] for row in rows[3:]] == list(vitnas.spaces())


def test_the_range_of_a_space_is_that_of_its_costs(command: Command) -> None:
    """The largest patches cost the least."""
    space = vitnas.space("vitas")
    dearest, cheapest = space.largest.replace(patch_size=14), space.smallest.replace(patch_size=32)
    found = f"{cost.macs(cheapest) / 1e6:.3g}M to {cost.macs(dearest) / 1e9:.3g}G"
    assert ["1.29e+43", "90k to 31.2M", found] in cells(command("spaces", "vitas").out)


def test_a_space_at_the_size_of_its_images(command: Command) -> None:
    result = command("spaces", "autoformer-digits", "--img-size", "8", "--num-classes", "10")
    rows = cells(result.out)
    assert ["depth", "net", "2, 3, 4"] in rows
    assert ["num_heads", "layer", "1, 2, 3"] in rows
    assert ["22,113", "10.7k to 104k", "133k to 1.8M"] in rows


def test_a_space_of_the_users_own(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("family: vit\ndepth: [2]\nembed_dim: [64]\nnum_heads: [1]\nmlp_ratio: [2, 3]\n")
    result = command("spaces", path, "--img-size", "160", "224")
    assert result.code == 0
    assert ["mlp_ratio", "layer", "2, 3"] in cells(result.out)


def test_archs_are_listed_and_shown_as_json(command: Command) -> None:
    out = command("archs").out
    rows = cells(out)
    assert ["autoformer-tiny", "autoformer-tiny-wide", "5.87M", "1.48G", "75.3", "92.7"] in rows
    told = " ".join(out.split())
    for name, entry in entries().items():
        figures = quantity(entry.params), quantity(entry.macs), str(entry.top1), str(entry.top5)
        assert [name, entry.space, *figures] in rows
        assert re.search(rf"Accuracies of [^:]*\b{name}\b[^:]*: {re.escape(entry.source)}", told)
    for name in vitnas.archs():
        shown = command("archs", name).out
        assert vitnas.Arch.from_json(shown) == vitnas.arch(name)
        assert len(shown.splitlines()) == 1


def test_profile_of_a_name_a_file_and_a_text(command: Command, tmp_path: Path) -> None:
    arch = vitnas.arch("autoformer-tiny")
    path = tmp_path / "t.json"
    path.write_text(arch.to_json())
    for target in ("autoformer-tiny", str(path), arch.to_json()):
        rows = cells(command("profile", target, *COUNTED).out)
        assert ["params", "exact", f"{cost.params(arch):,}"] in rows
        how = "exact, attention as the originals compute it"
        assert ["MACs", how, f"{cost.macs(arch):,}"] in rows
        assert ["complexity", "as counted by cream", "1,344,034,362"] in rows


def test_profile_of_what_other_systems_count_and_write(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(command("archs", "mmrazor-autoformer-base", "--to", "mmrazor").out)
    rows = cells(command("profile", path, *COUNTED).out)
    assert ["MACs", "as counted by mmrazor, which calls them FLOPs", "10,570,049,856"] in rows
    assert ["params", "as counted by mmrazor-params", "54,318,664"] in rows


SYSTEMS = {  # what an architecture is written as: a part of it, and under which suffixes it is read
    "cream": ("RETRAIN:", (".yaml",)),
    "nni": ('"num_head_13": 3', (".yaml", ".json")),
    "mmrazor": ('.13.mutable_mlp_ratios": {"chosen": 3.0}', (".yaml", ".json")),
}


@pytest.mark.parametrize("to", SYSTEMS)
def test_archs_as_other_systems_write_them_are_read_again(
    to: str, command: Command, tmp_path: Path
) -> None:
    shown, (part, suffixes) = command("archs", "autoformer-tiny", "--to", to), SYSTEMS[to]
    assert (shown.code, shown.err) == (0, "")
    assert part in shown.out
    own = command("archs", "autoformer-tiny").out
    for suffix in suffixes:
        path = tmp_path / f"theirs{suffix}"
        path.write_text(shown.out)
        assert command("archs", path).out == own
        assert command("archs", path, "--to", to).out == shown.out
    if ".json" in suffixes:
        assert command("archs", shown.out).out == own


# Heads and MLP ratio of the layers beyond the depth, in NNI's own samples.
INACTIVE = {"tiny": (14, 3, 3), "small": (14, 5, 3), "base": (16, 8, 3)}


@pytest.mark.parametrize("size", INACTIVE)
def test_published_architectures_are_nnis_own_samples(size: str, command: Command) -> None:
    layers, heads, ratio = INACTIVE[size]
    arch = vitnas.arch(f"autoformer-{size}")
    sample = json.loads(command("archs", f"autoformer-{size}", "--to", "nni").out)
    beyond = range(arch.depth, layers)
    assert [sample.pop(f"num_head_{i}") for i in beyond] == [heads] * len(beyond)
    assert [sample.pop(f"mlp_ratio_{i}") for i in beyond] == [ratio] * len(beyond)
    assert sample == nni.foreign(arch)


def test_flags_that_need_another_are_refused(command: Command) -> None:
    told = refusal(command("archs", "--to", "nni"))
    assert told == "--to writes one architecture for another system; name it"
    told = refusal(command("archs", "autoformer-tiny", "--space", "autoformer-tiny"))
    assert told == "--space says what is written for another system; give that, too (--to)"


def test_archs_of_a_model_folder_are_those_of_its_space(command: Command, tmp_path: Path) -> None:
    space = vitnas.space("mmrazor-autoformer-base")
    genes = {"depth": 14, "mlp_ratio": (3,) * 14, "num_heads": (9,) * 14, "embed_dim": 528}
    arch = vitnas.Arch("autoformer", **genes)
    record = {"vitnas": 1, "kind": "model", "arch": arch.to_dict(), "options": {}}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**record, "provenance": {"space": space.to_dict()}}))
    told = command("archs", tmp_path, "--to", "mmrazor")
    assert (told.code, told.err) == (0, "")
    assert json.loads(told.out) == mmrazor.foreign(arch, space)
    config.write_text(json.dumps(record))
    told = command("archs", tmp_path, "--to", "mmrazor")
    assert json.loads(told.out) == mmrazor.foreign(arch)
    assert told.err.startswith("MMRazor's loader wants the layers beyond depth 14 that its")
    given = command("archs", tmp_path, "--to", "mmrazor", "--space", "mmrazor-autoformer-base")
    assert json.loads(given.out) == mmrazor.foreign(arch, space)


def test_samples_in_a_list_are_read_or_counted(command: Command, tmp_path: Path) -> None:
    sample = nni.foreign(vitnas.arch("autoformer-tiny"))
    assert command("archs", json.dumps([sample])).out == command("archs", "autoformer-tiny").out
    (tmp_path / "top.json").write_text(json.dumps([sample, sample]))
    assert refusal(command("archs", tmp_path / "top.json")) == (
        f"{tmp_path / 'top.json'}: NNI AutoFormer architecture: a list of 2 samples; give one of "
        "them alone (export_top_models puts the best first)"
    )


def test_the_official_yaml_has_the_official_supernet_around(command: Command) -> None:
    """Supernet-T, S and B are the smallest official ones with room for their spaces."""
    sizes = {"tiny": (256, 14, 4), "small": (448, 14, 7), "base": (640, 16, 10)}
    for name, (embed, depth, heads) in sizes.items():
        record = yaml.safe_load(command("archs", f"autoformer-{name}", "--to", "cream").out)
        supernet = {"EMBED_DIM": embed, "DEPTH": depth, "NUM_HEADS": heads, "MLP_RATIO": 4}
        assert record["SUPERNET"] == supernet


def test_s3_as_its_yaml(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "s3.yaml"
    path.write_text(command("archs", "s3-base", "--to", "s3").out)
    assert vitnas.Arch.from_json(command("archs", path).out) == vitnas.arch("s3-base")


def test_profile_at_another_size(command: Command) -> None:
    arch = vitnas.arch("autoformer-tiny")
    words = ("--num-classes", "37", "--img-size", "160", "224")
    rows = cells(command("profile", "autoformer-tiny", *words, *COUNTED).out)
    params = cost.params(arch, num_classes=37, img_size=(160, 224))
    assert ["params", "exact", f"{params:,}"] in rows


def test_profile_of_a_model_folder_and_of_a_supernet(command: Command, searched: Path) -> None:
    for folder in ("models/largest", "supernet"):
        target = searched / folder
        config = json.loads((target / "config.json").read_text())
        arch = vitnas.Arch.from_dict(config.get("arch") or config["largest"])
        result = command("profile", target, *COUNTED)
        assert result.code == 0
        params = f"{cost.params(arch, **config['options']):,}"
        assert ["params", "exact", params] in cells(result.out)
        more = command("profile", target, "--num-classes", "37", *COUNTED)
        wider = f"{cost.params(arch, **{**config['options'], 'num_classes': 37}):,}"
        assert ["params", "exact", wider] in cells(more.out)


def test_a_convention_that_does_not_cover_the_net_is_explained(
    command: Command, tmp_path: Path
) -> None:
    genes = {"depth": 1, "embed_dim": 64, "num_heads": (1,), "mlp_ratio": (4,)}
    model = vitnas.build(vitnas.Arch("autoformer", **genes), 3, 32, abs_pos=False)
    result = command("profile", vitnas.save(model, tmp_path / "model"), *COUNTED)
    assert ["complexity", "as counted by cream", "–"] in cells(result.out)
    note = "–: convention cream is known for abs_pos and max_relative_position 14 only"
    assert result.out.splitlines()[-1] == note


def test_only_the_convention_of_its_original_stands_beside_a_net(command: Command) -> None:
    rows = cells(command("profile", "s3-tiny", *COUNTED).out)
    assert [row for row in rows if "as counted by" in str(row)] == [
        ["MACs", "as counted by s3, which calls them FLOPs", "4,627,170,816"]
    ]
    rows = cells(command("profile", "vitas-c", *COUNTED).out)
    figure = f"{cost.convention('vitas', vitnas.arch('vitas-c')):,.0f}"
    assert [row for row in rows if "as counted by" in str(row)] == [
        ["MACs", "as counted by vitas, which calls them FLOPs", figure]
    ]
    plain = vitnas.Arch("vit", depth=1, embed_dim=64, num_heads=(1,), mlp_ratio=(4,))
    assert "as counted by" not in command("profile", plain.to_json(), *COUNTED).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("spaces", "autoformer-tniy"),
            "unknown search space 'autoformer-tniy'; did you mean 'autoformer-tiny'? (allowed: "
            + ", ".join(sorted(vitnas.spaces()))
            + ")",
        ),
        (
            ("archs", "autoformer-smal"),
            "unknown architecture 'autoformer-smal'; did you mean 'autoformer-small'? (allowed: "
            f"{', '.join(sorted(vitnas.archs()))})",
        ),
        (("profile", "autoformer-tiny", "--img-size", "33"), "img_size 33x33 is no multiple of "
         "patch_size 16; 48x48 would be"),
        (
            ("archs", "autoformer-tiny", "--to", "nini"),
            "unknown architecture format 'nini'; did you mean 'nni'? (allowed: "
            f"{', '.join(sorted(SOURCES))})",
        ),
        (("archs", "s3-tiny", "--to", "nni"), "the NNI AutoFormer has no s3 architectures"),
        (("profile", "{"), "not an architecture: Expecting property name enclosed in double quotes:"
         " line 1 column 2 (char 1)"),
    ],
)  # fmt: skip
def test_refusals(words: tuple[str, ...], message: str, command: Command) -> None:
    assert refusal(command(*words)) == message
