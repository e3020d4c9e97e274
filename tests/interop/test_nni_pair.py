"""Official AutoFormer and NNI: what goes over without loss, and the one loss there is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitnas.errors import InputError
from vitnas.interop import cream, nni
from vitnas.supernet import Supernet

from .recorded_nni import PAIR, SUPERNET, case
from .test_nni import assert_recorded, searched, supernet


def pair() -> tuple[Any, Supernet]:
    recorded = case(PAIR)
    weights = recorded.weights("official.")
    return recorded, cream.load(weights, recorded.metadata["official_config"]).eval()


PAIRS = range(3)


@pytest.mark.parametrize("i", PAIRS)
def test_official_subnets_are_nni_subnets_and_back_bit_for_bit(i: int) -> None:
    recorded, net = pair()
    images, arch = recorded.tensors["input"], nni.arch(recorded.metadata["subnets"][i]["arch"])
    with torch.no_grad():
        logits = net(images, arch)
        assert_recorded(logits, recorded.tensors[f"logits.{i}.official"])
        model = net.extract(arch)
        dumped = nni.dump(model)
        if i in recorded.metadata["stored_nni_subnets"]:
            wanted = recorded.weights(f"nni_subnet.{i}.")
            assert dumped.keys() == wanted.keys()
            assert all(torch.equal(dumped[key], wanted[key]) for key in wanted)
        theirs = nni.load(dumped, nni.arguments(model)).eval()
        assert torch.equal(theirs(images), logits)
        back = cream.load(cream.dump(theirs), cream.arguments(theirs)).eval()
        assert torch.equal(back(images, arch), logits)


def test_an_official_supernet_is_refused_unless_the_loss_is_agreed_to() -> None:
    recorded, net = pair()
    space = searched(recorded.metadata["nni_config"])
    message = r"can't keep all of this supernet: subnets with fewer heads .* Convert a subnet"
    with pytest.raises(InputError, match=message):
        nni.dump(net, space=space)
    dumped = nni.dump(net, space=space, lossy=True)
    wanted = recorded.weights("nni_supernet.")
    assert dumped.keys() == wanted.keys()
    assert all(torch.equal(dumped[key], wanted[key]) for key in wanted)
    frozen = nni.load(dumped, recorded.metadata["nni_config"]).eval()
    images = recorded.tensors["input"]
    for i in PAIRS:
        arch = nni.arch(recorded.metadata["subnets"][i]["arch"])
        with torch.no_grad():
            logits = frozen(images, arch)
            off = (logits - net(images, arch)).abs().max()
        assert_recorded(logits, recorded.tensors[f"logits.{i}.nni_supernet_frozen"])
        assert off == 0 if i == 0 else off > 0.9


def test_an_nni_supernet_is_refused_as_an_official_one_unless_the_loss_is_agreed_to() -> None:
    recorded = case(SUPERNET)
    net, images = supernet(), recorded.tensors["input"]
    with pytest.raises(InputError, match="can't keep all of this supernet"):
        cream.dump(net)
    back = cream.load(cream.dump(net, lossy=True), cream.arguments(net)).eval()
    offs = []
    with torch.no_grad():
        for subnet in recorded.metadata["subnets"]:
            arch = nni.arch(subnet["arch"])
            offs.append(float((back(images, arch) - net(images, arch)).abs().max()))
    assert offs[0] == 0
    assert min(offs[1:]) > 0.1


def test_a_supernet_is_an_official_one_where_all_subnets_have_all_heads() -> None:
    recorded = case(SUPERNET)
    space = searched(recorded.metadata["config"]).with_values(num_heads=[3])
    net = supernet(space)
    assert cream.lost(net) == []
    back = cream.load(cream.dump(net), cream.arguments(net)).eval()
    again = nni.load(nni.dump(back, space=space), nni.arguments(net)).eval()
    for seed in range(3):
        arch = space.sample(seed)
        with torch.no_grad():
            logits = net(recorded.tensors["input"], arch)
            assert torch.equal(back(recorded.tensors["input"], arch), logits)
            assert torch.equal(again(recorded.tensors["input"], arch), logits)


@pytest.mark.parametrize("bias", ["none", "zero"])
def test_supernets_without_biases_go_round_bit_for_bit(bias: str) -> None:
    recorded, _ = pair()
    weights, config = recorded.weights("official."), dict(recorded.metadata["official_config"])
    for name in [name for name in weights if name.endswith("qkv.bias")]:
        if bias == "none":
            del weights[name]
        else:
            weights[name] = torch.zeros_like(weights[name])
    config["qkv_bias"] = bias == "zero"
    net = cream.load(weights, config)
    middle = nni.load(nni.dump(net), nni.arguments(net))
    # NNI's supernet has nested biases, so that the way back is judged by its own rule.
    back = cream.dump(middle)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)
