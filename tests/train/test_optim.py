from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from train.runs import SPACE
from vitnas.errors import InputError
from vitnas.supernet import Supernet
from vitnas.train.optim import (
    decay_groups,
    fill_skipped,
    make_optimizer,
    make_schedule,
    scaled_lr,
)
from vitnas.train.recipe import Optim

OFFICIAL = Optim(schedule="epoch")  # base 5e-4, warm-up 20 epochs from 1e-6, minimum 1e-5


def rates(
    optim: Optim, steps: list[int], *, epochs: int = 500, per_epoch: int = 1251
) -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), optim, 1024)
    schedule = make_schedule(optimizer, optim, epochs=epochs, steps_per_epoch=per_epoch)
    found = [schedule(step) for step in steps]
    assert {group["lr"] for group in optimizer.param_groups} == {found[-1]}
    return found


def test_the_lagging_schedule_of_the_original() -> None:
    epochs = [0, 1, 2, 20, 21, 499]
    found = rates(replace(OFFICIAL, schedule_lag=True), [1251 * e + 7 for e in epochs])
    expected = [1e-6, 1e-6, 5.095e-5, 9.5005e-4, 9.9610e-4, 1.0039e-5]
    assert found == pytest.approx(expected, rel=1e-4)


def test_without_the_lag() -> None:
    found = rates(OFFICIAL, [1251 * e for e in (0, 1, 19, 20, 498)])
    expected = [1e-6, 5.095e-5, 9.5005e-4, 9.9610e-4, 1.0039e-5]
    assert found == pytest.approx(expected, rel=1e-4)


def test_by_the_step_it_is_continuous_inside_an_epoch() -> None:
    by_step = replace(OFFICIAL, schedule="step")
    found = rates(by_step, [0, 1251 // 2, 1251, 1251 * 20], per_epoch=1251)
    assert found == pytest.approx([1e-6, 2.596e-5, 5.095e-5, 9.9610e-4], rel=1e-3)
    assert rates(OFFICIAL, [1251 // 2]) == [1e-6]


def test_the_rate_depends_on_the_step_alone() -> None:
    by_step = replace(OFFICIAL, schedule="step")
    steps = [400, 3, 77_777]
    assert rates(by_step, steps) == [rates(by_step, [step])[0] for step in steps]


def test_only_the_peak_scales_with_the_batch() -> None:
    assert scaled_lr(OFFICIAL, 1024) == 1e-3
    assert scaled_lr(OFFICIAL, 256) == 2.5e-4
    no_warmup = replace(OFFICIAL, warmup_epochs=0, base_lr=1e-3)
    assert rates(no_warmup, [0, 1251 * 500], epochs=500) == pytest.approx([2e-3, 1e-5])


def groups_by_name(net: nn.Module, optim: Optim) -> dict[str, float]:
    names = {id(p): name for name, p in net.named_parameters()}
    found = {}
    for group in decay_groups(net, optim):
        for parameter in group["params"]:  # type: ignore[attr-defined]
            found[names[id(parameter)]] = group["weight_decay"]
    assert len(found) == len(names)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("sharing", ["prefix", "independent"])
def test_what_decays(sharing: str) -> None:
    net = Supernet(SPACE, num_classes=10, img_size=8, in_chans=1, sharing=sharing)
    decay = groups_by_name(net, Optim())
    for name, parameter in net.named_parameters():
        exempt = parameter.ndim <= 1 or any(
            part in name for part in ("pos_embed", "cls_token", "rel_k", "rel_v")
        )
        assert decay[name] == (0.0 if exempt else 0.05), name
    assert decay["blocks.0.attn.qkv.weight"] == decay["patch_embed.proj.weight"] == 0.05
    assert decay["blocks.0.attn.rel_v_rows"] == decay["pos_embed"] == 0.0


def test_the_original_decays_relative_tables() -> None:
    net = Supernet(SPACE, num_classes=10, img_size=8, in_chans=1)
    plain = groups_by_name(net, Optim())
    original = groups_by_name(net, Optim(decay_relative_position=True))
    changed = {name.rpartition(".")[2] for name in plain if plain[name] != original[name]}
    assert changed == {"rel_k_rows", "rel_k_cols", "rel_v_rows", "rel_v_cols"}


def test_unknown_optimisers_and_options() -> None:
    with pytest.raises(InputError, match="unknown optimiser 'adamv'; did you mean 'adam"):
        make_optimizer(nn.Linear(1, 1), Optim(name="adamv"), 1)
    with pytest.raises(InputError, match=r"optimiser adamw with options \{'speed': 3\}: "):
        make_optimizer(nn.Linear(1, 1), Optim(options={"speed": 3}), 1)
    optimizer = make_optimizer(nn.Linear(1, 1), Optim(options={"betas": [0.8, 0.9]}), 1)
    assert tuple(optimizer.param_groups[0]["betas"]) == (0.8, 0.9)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_fused_implementation_takes_the_same_steps(name: str) -> None:
    found = []
    for fused in (True, False):
        layer = nn.Linear(3, 2).double()
        nn.init.constant_(layer.weight, 0.7)
        nn.init.zeros_(layer.bias)
        optimizer = make_optimizer(layer, Optim(name=name), 512, fused=fused)
        assert optimizer.defaults["fused"] is (True if fused else None)
        for step in range(5):
            optimizer.zero_grad()
            layer(torch.full((1, 3), step + 1.0, dtype=torch.float64)).square().sum().backward()
            optimizer.step()
        found.append(layer.weight.detach())
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_optimisers_without_a_fused_implementation() -> None:
    assert "fused" not in make_optimizer(nn.Linear(1, 1), Optim(name="lamb"), 1).defaults


def test_skipped_parameters_move_only_once_used() -> None:
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.AdamW([used, unused], lr=0.1)
    used.grad = torch.ones(2, 2)
    optimizer.step()
    optimizer.zero_grad()
    before = used.detach().clone()
    optimizer.step()
    assert torch.equal(used, before)  # torch leaves a parameter without gradient alone
    fill_skipped(optimizer)
    assert unused.grad is None
    optimizer.step()
    assert not torch.equal(used, before)  # momentum
    assert torch.equal(unused, torch.ones(2, 2))
