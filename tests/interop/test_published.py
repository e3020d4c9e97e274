"""Weights of published sizes that lost their last blocks: refused, unless a config says the depth.

What is left has the names of a shallower network. Networks without values are enough for what is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import cream, mmrazor, nni, s3
from vitnas.interop.published import networks, whole
from vitnas.zoo import arch

from .recorded_nni import MMRAZOR, case

State = dict[str, Tensor]
AUTOFORMERS = ("autoformer-tiny", "autoformer-small", "autoformer-base", "mmrazor-autoformer-base")
S3S = ("s3-tiny", "s3-small", "s3-base")
OFFICIAL = {"autoformer-tiny": 14, "autoformer-small": 14, "autoformer-base": 16}
PRESETS = {f"nni-{name}": depth for name, depth in OFFICIAL.items()}


def network(name: str) -> Any:
    return vitnas.build(arch(name))


def supernet(name: str) -> Any:
    return vitnas.Supernet(vitnas.space(name))


def official_supernet(name: str) -> Any:
    """Return a supernet with the biases of the official code."""
    sizes = cream.supernet(vitnas.space(name).largest)
    space = vitnas.space(name)
    largest = space.with_values(**{gene: (sizes[gene],) for gene in sizes})
    return vitnas.Supernet(space, sharing="legacy", largest=largest.largest)


def unmutated(name: str) -> Any:
    """Return NNI's model space as it is made: all blocks, of the first candidates."""
    space = vitnas.space(name)
    first = space.with_values(depth=(space.largest.depth,)).smallest
    return vitnas.Supernet(None, largest=first)


KINDS: dict[Any, str] = dict.fromkeys((supernet, official_supernet), "the supernet of ")
KINDS |= {network: "", unmutated: "the model space of "}
CASES: list[tuple[Any, Callable[[str], Any], str, str, str]] = [
    *((nni, network, name, "search_depth: [{}]", "") for name in AUTOFORMERS),
    *((nni, supernet, name, "search_depth: [{}]", "blocks.") for name in PRESETS),
    *((nni, unmutated, name, "search_depth: [{}]", "blocks.") for name in PRESETS),
    *(
        (mmrazor, make, name, "arch_setting: {{depth: [{}]}}", "architecture.backbone.")
        for make, name in (
            *((network, name) for name in AUTOFORMERS),
            (supernet, "mmrazor-autoformer-base"),
        )
    ),
    *((cream, official_supernet, name, "depth: {}", "") for name in OFFICIAL),
]


def state_of(module: Any, make: Callable[[str], Any], name: str) -> State:
    """Return an original's state, all zeros that take no memory."""
    with torch.device("meta"):
        state = module.dump(make(name))
    return {name: torch.zeros(()).expand(tensor.shape) for name, tensor in state.items()}


def without(state: State, names: str) -> State:
    return {name: tensor for name, tensor in state.items() if not re.search(names, name)}


@pytest.mark.parametrize(("module", "make", "name", "advice", "prefix"), CASES)
@pytest.mark.parametrize("count", [1, 2])
def test_blocks_that_are_lost_are_listed(
    module: Any, make: Callable[[str], Any], name: str, advice: str, prefix: str, count: int
) -> None:
    state = state_of(module, make, name)
    depth = 1 + max(int(m[1]) for m in map(re.compile(r"blocks\.(\d+)\.").search, state) if m)
    left = depth - count
    lost = "|".join(rf"blocks\.{layer}\." for layer in range(left, depth))
    with pytest.raises(InputError) as refused:
        module.load(without(state, lost), {})
    told = str(refused.value)
    assert f"missing: {prefix}blocks.{left}.* (" in told
    assert told.endswith(
        f"; it begins as {KINDS[make]}{name}; if it never had more blocks than {left}, its config "
        f"(--config) must say {advice.format(left)}"
    )


@pytest.mark.parametrize("name", S3S)
def test_blocks_that_a_stage_lost_are_listed(name: str) -> None:
    state = state_of(s3, network, name)
    depths = list(arch(name).depth)
    for stage in range(4):
        last = f"layers.{stage}.blocks.{depths[stage] - 1}."
        left = [depth - (at == stage) for at, depth in enumerate(depths)]
        with pytest.raises(InputError) as refused:
            s3.load(without(state, f"^{re.escape(last)}"), {})
        told = str(refused.value)
        assert f"not the official S3 of this config; missing: {last}* (13 tensors); it beg" in told
        assert told.endswith(
            f"; it begins as {name}; if it never had more blocks than "
            + ", ".join(map(str, left))
            + ", its config "
            f"(--config) must say depths: {left}"
        )


def test_of_a_lost_stage_the_tensors_are_listed() -> None:
    """No config could say a depth of 0."""
    part = without(state_of(s3, network, "s3-tiny"), r"^layers\.3\.")
    with pytest.raises(InputError, match=r"missing: layers\.3\.blocks\.0\.\* \(13 t") as refused:
        s3.load(part, {})
    assert "if it never had" not in str(refused.value)


def test_a_lost_block_and_another_fault_are_told_together() -> None:
    part = without(state_of(nni, network, "autoformer-tiny"), r"blocks\.12\.|^cls_token")
    part["head.bias"] = torch.zeros(7)
    with pytest.raises(InputError, match=r"missing: blocks\.12\.\* .*cls_token; wrong shape: head"):
        nni.load(part, {})


@pytest.mark.parametrize(
    ("module", "make", "config"),
    [
        (nni, network, {"search_depth": [12]}),
        (nni, network, {"search_depth": [10, 11, 12]}),
        (nni, supernet, {"search_depth": [12]}),
        (nni, supernet, {"search_depth": [11, 12]}),
        (mmrazor, network, {"embed_dims": [192], "depth": [12]}),
        (mmrazor, network, {"embed_dims": [192, 216], "depth": [11, 12]}),
        (mmrazor, supernet, {"embed_dims": [216, 240], "depth": [12]}),
        (cream, official_supernet, {"depth": 12}),
    ],
)
def test_a_config_says_that_there_never_were_more(
    module: Any, make: Callable[[str], Any], config: dict[str, Any]
) -> None:
    state = module.dump(make("autoformer-tiny"))
    part = without(state, r"blocks\.1[23]\.")
    if module is mmrazor:
        config = {"arch_setting": {"mlp_ratios": [3.0, 3.5, 4.0], "num_heads": [3, 4], **config}}
    found = module.load(part, config)
    again = module.dump(found)
    assert again.keys() == (state if module is cream else part).keys()  # filled up, see its dump
    assert all(torch.equal(again[name], part[name]) for name in part)
    assert isinstance(found, vitnas.Supernet) == (make is not network)


def test_a_config_says_the_depths_of_stages() -> None:
    part = without(s3.dump(network("s3-tiny")), r"^layers\.2\.blocks\.5\.")
    found = s3.load(part, {"depths": [2, 2, 5, 2]})
    assert s3.arguments(found)["depths"] == [2, 2, 5, 2]


@pytest.mark.parametrize(
    ("module", "make"),
    [(nni, network), (nni, supernet), (mmrazor, network), (cream, official_supernet)],
)
def test_whole_networks_need_no_config(module: Any, make: Callable[[str], Any]) -> None:
    state = dict(module.dump(make("autoformer-tiny")))
    assert module.dump(module.load(state, {})).keys() == state.keys()


@pytest.mark.parametrize("name", S3S)
def test_whole_networks_with_stages_need_no_config(name: str) -> None:
    """S3-T is the first blocks of S3-B, and yet no part of it."""
    depths = s3.infer_config(state_of(s3, network, name))["depths"]
    assert depths == list(arch(name).depth)


def test_a_lost_block_of_a_supernet_is_no_subnet_of_its_config() -> None:
    """What is left has the sizes of one of its subnets."""
    recorded = case(MMRAZOR)
    config = {"arch_setting": recorded.metadata["arch_setting"]}
    state = recorded.weights()
    deepest = max(config["arch_setting"]["depth"])
    assert isinstance(mmrazor.load(state, config), vitnas.Supernet)
    last = rf"blocks\.{deepest - 1}\."
    with pytest.raises(
        InputError, match=rf"missing: architecture\.backbone\.{last}\* .* of arch_s"
    ):
        mmrazor.load(without(state, last), config)


def test_where_all_networks_begin_as_the_largest_each_may_be_whole() -> None:
    """As those of a search for the depth alone."""
    setting = {"embed_dims": [64], "mlp_ratios": [2], "num_heads": [1], "depth": [1, 2, 3]}
    genes = {"mlp_ratio": (2, 2), "num_heads": (1, 1), "embed_dim": 64}
    model = vitnas.build(Arch("autoformer", depth=2, **genes), img_size=32)
    found = mmrazor.load(mmrazor.dump(model), {"arch_setting": setting})
    assert mmrazor.arguments(found)["arch_setting"]["depth"] == [2]


@pytest.mark.parametrize("name", AUTOFORMERS)
def test_what_is_written_for_cream_needs_no_config(name: str) -> None:
    """The supernet that a published network is written into is as deep as the published one."""
    state = state_of(cream, network, name)
    given = cream.infer_config(state)
    with torch.device("meta"):
        assert given["depth"] == cream.arguments(network(name))["depth"]
    assert given["depth"] == OFFICIAL[name.removeprefix("mmrazor-")]
    assert cream.description(arch(name))["SUPERNET"]["DEPTH"] == given["depth"]


def test_what_fills_a_supernet_up_changes_no_logits() -> None:
    model = network("autoformer-tiny").eval()
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    again = cream.load(cream.dump(model), {}).extract(arch("autoformer-tiny")).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [{"search_depth": [13]}, {"search_depth": [12, 13, 14]}])
def test_blocks_that_a_config_says_are_listed(config: dict[str, Any]) -> None:
    part = without(state_of(nni, network, "autoformer-tiny"), r"blocks\.12\.")
    with pytest.raises(InputError, match=r"missing: blocks\.12\.\* \(20 tensors\); .*: \[12\]$"):
        nni.load(part, config)
    lost = without(state_of(nni, supernet, "nni-autoformer-tiny"), r"blocks\.1[23]\.")
    with pytest.raises(InputError, match=r"missing: blocks\.blocks\.12\.\* .*: \[12\]$"):
        nni.load(lost, config)


WINDOWS = {"window_size": [[7, 7], [7, 7], [14] * 5, [7, 7]]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"depths": [2, 2, 6, 2]}, r"missing: layers\.2\.blocks\.5\.\* .*: \[2, 2, 5, 2\]$"),
        ({"depths": [2, 2, 6.0, 2]}, r"missing: layers\.2\.blocks\.5\.\* .*: \[2, 2, 5, 2\]$"),
        ({"depths": [2, 2, 7, 2]}, r"missing: layers\.2\.blocks\.5\.\* .*blocks\.6\.\*"),
        ({"depths": [2, 2, 4, 2]}, r"unexpected: layers\.2\.blocks\.4\.\*"),
        ({"depths": [2, 2, 6]}, r"one list a stage"),
        ({"img_size": 448}, r"missing: layers\.2\.blocks\.5\.\* "),
    ],
)
def test_a_lost_block_of_a_stage_and_a_config(
    config: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    buffers = "" if config.get("img_size", 224) == 224 else "|attn_mask|position_index"
    part = without(state_of(s3, network, "s3-tiny"), rf"^layers\.2\.blocks\.5\.{buffers}")
    with pytest.raises(InputError, match=message):
        s3.load(part, config)
    assert not caplog.records


def test_lists_of_a_config_say_the_depths_of_stages() -> None:
    part = without(s3.dump(network("s3-tiny")), r"^layers\.2\.blocks\.5\.")
    assert s3.arguments(s3.load(part, WINDOWS))["depths"] == [2, 2, 5, 2]
    with pytest.raises(InputError, match=r"unexpected: layers\.2\.blocks\.5\.\*"):
        s3.load(state_of(s3, network, "s3-tiny"), WINDOWS)


def test_another_depth_is_another_network() -> None:
    known = networks("autoformer")
    tiny = arch("autoformer-tiny")
    genes = {"mlp_ratio": tiny.mlp_ratio[:7], "num_heads": tiny.num_heads[:7]}
    assert whole(tiny.replace(depth=7, **genes), known) == tiny
    other = tiny.replace(depth=7, **genes, embed_dim=193)
    assert whole(other, known) == other
    heads = tiny.replace(depth=7, mlp_ratio=genes["mlp_ratio"], num_heads=(4,) * 7)
    assert whole(heads, known) == heads
    longer = tiny.replace(
        depth=14, mlp_ratio=(*tiny.mlp_ratio, 3.5), num_heads=(*tiny.num_heads, 3)
    )
    assert whole(longer, known) == longer


@pytest.mark.parametrize(
    ("depth", "name"), [(5, "s3-tiny"), (6, "s3-tiny"), (7, "s3-base"), (29, "s3-base")]
)
def test_the_nearest_of_several_is_meant(depth: int, name: str) -> None:
    base = arch("s3-base")
    rows = {gene: getattr(base, gene) for gene in ("mlp_ratio", "num_heads", "window_size")}
    cut = {gene: (*row[:2], row[2][:depth], row[3]) for gene, row in rows.items()}
    assert whole(base.replace(depth=(2, 2, depth, 2), **cut), networks("s3")) == arch(name)
