"""The supernet beyond the conformance suite: construction, refusals, wrappers, modes and dtypes."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import vitnas
from vitnas.arch import Arch
from vitnas.elastic import parameter_name
from vitnas.errors import InputError
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet, build
from vitnas.testing import models

SPACE = Space(
    "autoformer",
    (
        Choice("depth", (1, 2)),
        Choice("mlp_ratio", (1.0, 2.0), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (16, 24)),
    ),
    name="toy",
)
OPTIONS: dict[str, Any] = {"num_classes": 5, "img_size": 16, "patch_size": 8, "head_dim": 8}
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net() -> Supernet:
    return models.make(SPACE, **OPTIONS)[0]


@pytest.fixture
def bilateral() -> Supernet:
    return models.make(SPACE, "bilateral", **OPTIONS)[0]


def test_archs_outside_of_the_space_are_refused_by_gene(net: Supernet) -> None:
    wrong = SPACE.largest.replace(embed_dim=20, num_heads=(1, 3))
    message = (
        "not in the space toy: num_heads[1] is 3, the space allows 1, 2; "
        "embed_dim is 20, the space allows 16, 24"
    )
    for use in (lambda: net(IMAGES, wrong), lambda: net.extract(wrong), lambda: net.units(wrong)):
        with pytest.raises(InputError, match=re.escape(message)):
            use()


def test_a_space_may_be_smaller_than_the_storage() -> None:
    largest = SPACE.largest.replace(embed_dim=32)
    net = Supernet(SPACE, largest=largest, **OPTIONS).eval()
    assert net.get_parameter("cls_token").shape[-1] == 32
    assert net(IMAGES, SPACE.largest).shape == (2, 5)
    assert net(IMAGES, largest).shape == (2, 5)
    with pytest.raises(InputError, match="not in the space toy"):
        net(IMAGES, SPACE.smallest.replace(embed_dim=32))


def test_without_a_space_everything_that_fits_runs() -> None:
    net = Supernet(None, largest=SPACE.largest, **OPTIONS).eval()
    odd = Arch("autoformer", depth=1, mlp_ratio=(0.3,), num_heads=(2,), embed_dim=13)
    with torch.no_grad():
        assert torch.equal(net(IMAGES, odd), net.extract(odd).eval()(IMAGES))
    for changes, message in (
        ({"embed_dim": 25}, "embed of stem and head is 25, the supernet has 24"),
        ({"num_heads": (1, 3)}, "heads of blocks.1 is 3, the supernet has 2"),
        ({"mlp_ratio": (2, 2.1)}, "hidden of blocks.1 is 50, the supernet has 48"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            net(IMAGES, SPACE.largest.replace(**changes))
    deeper = Arch("autoformer", depth=3, mlp_ratio=(1,) * 3, num_heads=(1,) * 3, embed_dim=8)
    with pytest.raises(InputError, match=r"the architecture has blocks\.2, the supernet ends"):
        net(IMAGES, deeper)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": None}, "a supernet needs a space, or its largest architecture"),
        ({"sharing": "prefx"}, "unknown sharing policy 'prefx'; did you mean 'prefix'?"),
        ({"sharing": {"head": "suffix"}}, "unknown axis in the sharing 'head'; did you mean"),
        ({"space": vitnas.space("s3-tiny"), "largest": SPACE.largest}, "the supernet is of family "
         "autoformer, the space of s3"),
        ({"num_clases": 3}, "unknown autoformer option 'num_clases'; did you mean 'num_classes'?"),
        ({"largest": SPACE.smallest}, "embed of stem and head is 24, the supernet has 16"),
        ({"img_size": (16, 20)}, "img_size 16x20 is no multiple of patch_size 8"),
    ],
)  # fmt: skip
def test_refused_constructions(arguments: dict[str, Any], message: str) -> None:
    if arguments.keys() == {"largest"}:
        arguments = {**arguments, "space": SPACE.with_values(depth=[1])}
    with pytest.raises(InputError, match=re.escape(message)):
        Supernet(**{"space": SPACE, **OPTIONS, **arguments})


def test_names_and_samples_are_no_architectures_or_spaces(net: Supernet) -> None:
    """NNI's `freeze` takes a sample; here it is read first."""
    sample = {"embed_dim": 24, "depth": 2}
    wanted = r"an architecture is a vitnas\.Arch, not a dict: vitnas\.arch\(NAME\) has"
    refused: tuple[Callable[[Any], Any], ...] = (
        net.extract,
        lambda arch: net(IMAGES, arch),
        vitnas.build,
        vitnas.cost.params,
        vitnas.cost.macs,
        partial(vitnas.cost.convention, "cream"),
        partial(vitnas.cost.memory, device="cpu"),
        partial(vitnas.cost.latency, device="cpu"),
        SPACE.validate,
        lambda arch: vitnas.convert("no.pth", "no", arch=arch),
    )
    for call in refused:
        with pytest.raises(InputError, match=wanted):
            call(sample)
    wanted = r"a search space is a vitnas\.Space, not a str: vitnas\.space\(NAME\) has"
    name: Any = "autoformer-tiny"
    with pytest.raises(InputError, match=wanted):
        Supernet(name)
    with pytest.raises(InputError, match=wanted):
        Supernet(None, stored_space=name)
    with pytest.raises(InputError, match=wanted):
        vitnas.convert("no.pth", "no", space=name)


def test_a_space_of_several_patch_sizes_is_refused() -> None:
    patches = Space("autoformer", (*SPACE.choices, Choice("patch_size", (4, 8))))
    with pytest.raises(InputError, match="patch_size is 8, but the architecture has 4"):
        Supernet(patches, 5, 16, head_dim=8)


def test_building_and_extracting_leave_the_generator_alone(net: Supernet) -> None:
    state = torch.random.get_rng_state()
    net.extract(SPACE.smallest)
    net(IMAGES, SPACE.sample(0))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_extracted_models_know_what_they_are(net: Supernet) -> None:
    model: Any = net.extract(SPACE.smallest)
    assert Arch.from_dict(model.vitnas_config["arch"]) == SPACE.smallest
    assert model.vitnas_config["options"] == net.config.to_dict()


def test_the_state_of_a_subnet_is_a_copy(net: Supernet) -> None:
    own = {parameter.data_ptr() for parameter in net.parameters()}
    for arch in (SPACE.smallest, SPACE.largest):
        state = net.subnet_state(arch)
        assert state.keys() == net.extract(arch).state_dict().keys()
        assert not own & {tensor.data_ptr() for tensor in state.values()}


def test_modes_and_dtypes_carry_over(net: Supernet) -> None:
    assert not net.extract(SPACE.smallest).training
    assert net.train().extract(SPACE.smallest).training
    half = net.eval().to(torch.bfloat16)
    model = half.extract(SPACE.smallest)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        images = IMAGES.bfloat16()
        assert torch.equal(half(images, SPACE.smallest), model(images))


def test_drop_path_acts_in_training_only_and_as_in_the_extracted_model() -> None:
    net, _ = models.make(SPACE, drop_path_rate=0.5, **OPTIONS)
    arch = SPACE.largest
    with torch.no_grad():
        assert torch.equal(net(IMAGES, arch), net(IMAGES, arch))
        net.train()
        outs = [net(IMAGES, arch) for _ in range(8)]
        assert any(not torch.equal(outs[0], out) for out in outs)
        model = net.extract(arch)
        torch.manual_seed(3)
        inside = net(IMAGES, arch)
        torch.manual_seed(3)
        assert torch.equal(inside, model(IMAGES))


def test_a_shallow_subnet_keeps_the_ramp_of_the_largest() -> None:
    deep = SPACE.with_values(depth=[2, 3, 4])
    net = Supernet(deep, drop_path_rate=0.3, **OPTIONS)
    blocks: Any = net.extract(deep.smallest).get_submodule("blocks")
    assert blocks[1].drop_path1.drop_prob == pytest.approx(0.1)
    alone: Any = build(deep.smallest, drop_path_rate=0.3, **OPTIONS).get_submodule("blocks")
    assert alone[1].drop_path1.drop_prob == pytest.approx(0.3)


def test_autocast_and_inference_mode(net: Supernet) -> None:
    arch, model = SPACE.sample(1), net.extract(SPACE.sample(1))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(net(IMAGES, arch), model(IMAGES))
    with torch.inference_mode():
        net(IMAGES, arch)
    net(IMAGES, arch).sum().backward()


def test_units_may_be_wrapped(net: Supernet) -> None:
    """Activation checkpointing and torch.compile wrap a unit in a module of their own."""
    arch = SPACE.largest
    wanted = net(IMAGES, arch)
    wanted.sum().backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    blocks: Any = net.get_submodule("blocks")
    blocks[0] = checkpoint_wrapper(blocks[0])
    found = net(IMAGES, arch)
    assert torch.equal(found, wanted)
    found.sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(
            parameter.grad, gradients[name.replace("_checkpoint_wrapped_module.", "")]
        )


def test_grad_checkpointing_saves_memory_and_changes_no_bit() -> None:
    net = models.make(SPACE, drop_path_rate=0.5, **OPTIONS)[0].train()
    arch = SPACE.largest
    results = []
    for enable in (False, True):
        net.set_grad_checkpointing(enable)
        kept: list[int] = []

        def keep(tensor: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        torch.manual_seed(3)
        net.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = net(IMAGES, arch).sin().sum()
        loss.backward()
        results.append((sum(kept), [p.grad.clone() for p in net.parameters()]))  # type: ignore[union-attr]
    (plain, wanted), (less, found) = results
    assert less < plain / 2
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_copies_are_independent(net: Supernet) -> None:
    arch = SPACE.sample(0)
    wanted = net(IMAGES, arch)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(IMAGES, arch), wanted)
        with torch.no_grad():
            next(other.parameters()).add_(1)
        assert torch.equal(net(IMAGES, arch), wanted)


def test_independent_sizes_learn_apart() -> None:
    net, _ = models.make(SPACE, {"*": "prefix", "hidden": "independent"}, **OPTIONS)
    small = SPACE.largest.replace(mlp_ratio=(1, 2))
    net(IMAGES, small).sum().backward()
    touched = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    own = {name for name in touched if parameter_name(name) == "blocks.0.mlp.fc1.weight"}
    assert own == {"blocks.0.banks.mlp:fc1:weight@hidden=24"}
    assert "blocks.1.mlp.fc1.weight" in touched


def test_the_two_sides_are_those_of_a_prefix_and_of_a_suffix(bilateral: Supernet) -> None:
    for side, policy in (("left", "prefix"), ("right", "suffix")):
        other = Supernet(SPACE, sharing=policy, **OPTIONS).eval()
        other.load_state_dict(bilateral.state_dict())
        for arch in (SPACE.smallest, SPACE.sample(2)):
            wanted, found = other.subnet_state(arch), bilateral.subnet_state(arch, side)
            assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
            with torch.no_grad():
                assert torch.equal(bilateral(IMAGES, arch, side=side), other(IMAGES, arch))


def test_no_side_means_left_and_the_largest_has_one_side(bilateral: Supernet) -> None:
    small, large = SPACE.smallest, SPACE.largest
    assert (bilateral.sides(small), bilateral.sides(large)) == (("left", "right"), ("left",))
    with torch.no_grad():
        left, right = (bilateral(IMAGES, small, side=side) for side in ("left", "right"))
        assert torch.equal(bilateral(IMAGES, small), left)
        assert torch.equal(bilateral.extract(small)(IMAGES), left)
        assert not torch.equal(left, right)
        assert torch.equal(bilateral(IMAGES, large, side="right"), bilateral(IMAGES, large))
    assert bilateral.parts(large, "right") == bilateral.parts(large, "left")
    assert {side for _, side in bilateral.parts(small, "right")} == {"right"}


def test_a_side_is_refused_where_there_are_none(net: Supernet, bilateral: Supernet) -> None:
    arch, message = SPACE.smallest, "side is 'left', but this supernet has no sides"
    for use in (
        lambda: net(IMAGES, arch, side="left"),
        lambda: net.extract(arch, side="left"),
        lambda: net.subnet_state(arch, side="left"),
    ):
        with pytest.raises(InputError, match=message):
            use()
    with pytest.raises(InputError, match="unknown side 'middle' \\(allowed: left, right\\)"):
        bilateral(IMAGES, arch, side="middle")


def test_checkpointing_wrappers_and_copies_keep_the_sides(bilateral: Supernet) -> None:
    arch = SPACE.smallest
    wanted = bilateral(IMAGES, arch, side="right")
    wanted.sum().backward()
    gradients = [p.grad.clone() for p in bilateral.parameters() if p.grad is not None]
    other = copy.deepcopy(bilateral)
    other.set_grad_checkpointing()
    blocks: Any = other.get_submodule("blocks")
    blocks[0] = checkpoint_wrapper(blocks[0])
    other.zero_grad()
    found = other(IMAGES, arch, side="right")
    found.sum().backward()
    assert torch.equal(found, wanted)
    again = [p.grad for p in other.parameters() if p.grad is not None]
    assert len(again) == len(gradients)
    assert all(torch.equal(a, b) for a, b in zip(again, gradients, strict=True))


def test_the_published_nets_build() -> None:
    with torch.device("meta"):
        for name in vitnas.archs():
            arch = vitnas.arch(name)
            count = sum(parameter.numel() for parameter in vitnas.build(arch).parameters())
            assert count == vitnas.cost.params(arch)
