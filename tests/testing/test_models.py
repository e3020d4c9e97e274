"""The conformance suite on every family and policy, and each of its checks on what must fail it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitnas import cost
from vitnas.arch import Arch
from vitnas.elastic import ElasticBlock
from vitnas.errors import InputError
from vitnas.models import FAMILIES
from vitnas.sharing import POLICIES
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing import models
from vitnas.train.samplers import sandwich, stratified

from .families import CASES, OPTIONS, space

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SPACE = space("vit")
ARCHS = [SPACE.smallest, SPACE.sample(0)]
BRIEF: Any = {"standalone": False, "graphs": False}


@pytest.mark.parametrize("sharing", POLICIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_conforms_under_every_policy(family: str, sharing: str) -> None:
    some: Any = {
        "standalone": (family, sharing) == ("autoformer", "prefix"),
        "graphs": family == "vit" or sharing in ("prefix", "bilateral"),
    }
    models.check_model(space(family), sharing, **some, **CASES.get(family, OPTIONS))


@pytest.mark.parametrize(
    ("family", "sharing", "options"),
    [
        ("autoformer", {"*": "suffix", "hidden": "independent"}, {"img_size": (8, 20)}),
        ("autoformer", {"heads": "centre"}, {"pool": "token", "axes": ["hidden", "heads"]}),
        ("vit", "prefix", {"num_classes": 0, "axes": ["heads", "hidden"]}),
        ("autoformer", "prefix", {"relative_position": False, "qkv_bias": False, "qk_norm": True}),
        ("autoformer", "legacy", {"max_relative_position": 1, "abs_pos": False}),
        ("vit", "suffix", {"reg_tokens": 2, "pool": "avg", "fc_norm": True, "init_values": 0.1}),
        ("vit", "independent", {"pre_norm": True, "qk_norm": True, "no_embed_class": True}),
        ("vit", "prefix", {"final_norm": False}),
        ("autoformer", "suffix", {"qk_scale": 0.3, "pool": "token"}),
        ("vit", "centre", {"class_token": False, "pool": "avg", "in_chans": 1}),
    ],
)
def test_options_and_mixed_policies_conform(
    family: str, sharing: Any, options: dict[str, Any]
) -> None:
    models.check_model(space(family), sharing, **BRIEF, **{**OPTIONS, **options})


def test_a_fixed_attention_width_conforms_where_heads_stay() -> None:
    """Heads only divide the width there: neither cut nor reordered."""
    models.check_model(
        space("autoformer").with_values(num_heads=(1, 3)),
        axes=("embed", "hidden"),
        hold=("embed_dim", "num_heads"),
        standalone=False,
        relative_position=False,
        fixed_attn_dim=24,
        **OPTIONS,
    )


def test_norms_after_the_sums_conform_where_the_depth_stays() -> None:
    """A block without weights is no identity there, so depth can't be masked."""
    fixed = space("autoformer").with_values(depth=(3,))
    models.check_model(fixed, **BRIEF, post_norm=True, final_norm=False, **OPTIONS)


def test_layers_may_have_choices_of_their_own() -> None:
    own = Space(
        "autoformer",
        (
            Choice("depth", (1, 2)),
            Choice("mlp_ratio", ((1.0, 2.0), (1.5,)), "block"),
            Choice("num_heads", ((1, 2), (2, 3)), "block"),
            Choice("embed_dim", (16,)),
        ),
    )
    models.check_model(own, axes=("heads", "hidden"), standalone=False, **OPTIONS)


def test_a_whole_space_compiles_to_one_graph_a_kind() -> None:
    small = space("autoformer").with_values(mlp_ratio=(1.0, 2.0), num_heads=(1, 2))
    net, _ = models.make(small, **OPTIONS)
    archs = [small.sample(seed) for seed in range(12)]
    assert len({unit.kind for arch in archs for unit in net.units(arch)[1:]}) == 8
    models.check_graph_count(net, archs, IMAGES)


@pytest.mark.parametrize(
    "sampler", [sandwich, lambda space, seed: stratified(space, seed, cost.params)]
)
def test_samplers_depend_on_space_seed_and_step(sampler: Any) -> None:
    models.check_step_archs(SPACE, sampler)


@pytest.fixture
def net() -> Supernet:
    return models.make(SPACE, **OPTIONS)[0]


def test_extraction_that_differs_in_a_bit_is_caught(net: Supernet) -> None:
    extract = net.extract

    def changed(arch: Arch, side: Any = None) -> nn.Module:
        model = extract(arch)
        with torch.no_grad():
            model.get_parameter("head.weight")[0, 0] += 1e-6
        return model

    net.extract = changed  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="the extracted model has other logits"):
        models.check_bit_identical(net, ARCHS, IMAGES)


def test_shared_storage_is_caught(net: Supernet) -> None:
    net.subnet_state = lambda arch, side=None: dict(net.state_dict())  # type: ignore[method-assign]
    extract = net.extract

    def borrowed(arch: Arch, side: Any = None) -> nn.Module:
        model = extract(arch)
        model.load_state_dict(net.state_dict(), assign=True)
        return model

    net.extract = borrowed  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="shares storage"):
        models.check_bit_identical(net, [net.largest], IMAGES)


def test_another_static_model_is_caught() -> None:
    net, static = models.make(SPACE, **OPTIONS)
    with torch.no_grad():
        static.get_parameter("norm.bias")[0] += 1
    with pytest.raises(AssertionError, match=r"norm\.bias differs from the static model's"):
        models.check_largest(net, static, IMAGES)


def test_foreign_state_is_caught() -> None:
    net, static = models.make(SPACE, **OPTIONS)
    net.get_submodule("blocks.0").register_parameter("gate", nn.Parameter(torch.ones(1)))
    with pytest.raises(AssertionError, match=r"state keys differ: \['blocks\.0\.gate'\]"):
        models.check_state_keys(net, static)


def test_a_remembered_architecture_is_caught(net: Supernet) -> None:
    forward = net.forward

    def remembering(x: Tensor, arch: Arch, side: Any = None) -> Tensor:
        vars(net)["last"] = arch.embed_dim
        return forward(x, arch)

    net.forward = remembering  # type: ignore[method-assign]
    vars(net)["last"] = None
    with pytest.raises(AssertionError, match=r"changed during forward: \[\('', 'last'\)\]"):
        models.check_no_attribute_changes(net, ARCHS, IMAGES)


def test_a_written_tensor_is_caught(net: Supernet) -> None:
    forward = net.forward

    def writing(x: Tensor, arch: Arch, side: Any = None) -> Tensor:
        with torch.no_grad():
            net.get_parameter("norm.bias").mul_(1)
        return forward(x, arch)

    net.forward = writing  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match=r"norm\.bias was written during forward"):
        models.check_no_attribute_changes(net, ARCHS, IMAGES)


def test_gradient_outside_of_the_slice_is_caught(net: Supernet) -> None:
    forward = net.forward

    def leaking(x: Tensor, arch: Arch, side: Any = None) -> Tensor:
        logits = forward(x, arch)
        leak = 0.1 * net.get_parameter("blocks.0.mlp.fc1.bias").sum()
        return logits + (leak - leak.detach())

    net.forward = leaking  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match=r"mlp\.fc1\.bias has gradient outside of the slice"):
        models.check_gradients_outside_slice(net, ARCHS, IMAGES)


def test_another_gradient_is_caught(net: Supernet) -> None:
    forward = net.forward
    net.forward = lambda x, arch, side=None: 2 * forward(x, arch)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="has another gradient than alone"):
        models.check_gradients_outside_slice(net, ARCHS, IMAGES)


def test_a_refusal_without_the_gene_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def vague(self: Space, arch: Arch) -> None:
        raise InputError("no")

    monkeypatch.setattr(Space, "validate", vague)
    with pytest.raises(AssertionError, match="validate does not name depth"):
        models.check_arch_values(SPACE, ARCHS)


@pytest.mark.parametrize(
    ("name", "check"), [("params", models.check_params), ("macs", models.check_macs)]
)
def test_a_cost_that_is_off_by_one_is_caught(
    name: str,
    check: Callable[[Supernet, list[Arch]], None],
    net: Supernet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = getattr(cost, name)
    monkeypatch.setattr(cost, name, lambda *args, **options: count(*args, **options) + 1)
    with pytest.raises(AssertionError, match=f"cost.{name} "):
        check(net, ARCHS)


def test_a_graph_for_each_block_is_caught(net: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = ElasticBlock.forward
    for index, block in enumerate(net.blocks):  # type: ignore[arg-type]
        block.index = index

    def apart(self: Any, x: Tensor, program: Any) -> Tensor:
        tokens: Tensor = forward(self, x, program)
        return tokens if self.index < 9 else -tokens

    monkeypatch.setattr(ElasticBlock, "forward", apart)
    with pytest.raises(AssertionError, match="2 graphs for 1 kinds"):
        models.check_graph_count(net, [SPACE.smallest], IMAGES)


def test_a_sampler_with_a_memory_is_caught() -> None:
    def drawing(space: Space, seed: int) -> Callable[[int], tuple[Arch, ...]]:
        def archs() -> Iterator[Arch]:
            yield from (space.sample(number) for number in range(100))

        stream = archs()
        return lambda step: (next(stream),)

    with pytest.raises(AssertionError, match="depend on the steps before"):
        models.check_step_archs(SPACE, drawing)


def test_a_sampler_of_the_global_generator_is_caught() -> None:
    def drawing(space: Space, seed: int) -> Callable[[int], tuple[Arch, ...]]:
        def draw(step: int) -> tuple[Arch, ...]:
            random.random()
            return (space.sample(step),)

        return draw

    with pytest.raises(AssertionError, match="the global generator was used"):
        models.check_step_archs(SPACE, drawing)


def test_a_saved_model_with_other_logits_is_caught(net: Supernet) -> None:
    good, changed = net.extract(SPACE.smallest), net.extract(SPACE.smallest)
    changed.get_submodule("blocks.0.mlp").act = nn.ReLU()
    with pytest.raises(AssertionError, match="/1: other logits"):
        models.check_loads_without_vitnas([good, changed], IMAGES)
