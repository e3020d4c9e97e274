"""Relative position attention against its explicit form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitnas.nn import relative_position
from vitnas.nn.relative_position import RelativePositionAttention

from .reference import ExplicitAttention, relative_positions


def attention(
    grid: tuple[int, int] | None, dtype: torch.dtype = torch.float64, **options: Any
) -> RelativePositionAttention:
    """Return an attention of 3 heads with every parameter far from zero."""
    torch.manual_seed(0)
    made = RelativePositionAttention(12, 3, 8, grid=grid, **options).to(dtype)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def tokens(grid: tuple[int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    """Return two images' tokens."""
    return torch.randn(2, grid[0] * grid[1] + 1, 12, dtype=dtype)


def count_calls(
    made: RelativePositionAttention, name: str, monkeypatch: pytest.MonkeyPatch
) -> list[object]:
    """Count the calls of a method in the returned list."""
    calls: list[object] = []
    method = getattr(made, name)

    def counted(*args: Tensor) -> Tensor:
        calls.append(None)
        out: Tensor = method(*args)
        return out

    monkeypatch.setattr(made, name, counted)
    return calls


GRIDS = [
    pytest.param((4, 4), 14, id="square"),
    pytest.param((10, 14), 14, id="160x224"),
    pytest.param((5, 5), 2, id="clipped"),
    pytest.param((7, 3), 3, id="rows-clipped"),
    pytest.param((1, 6), 14, id="one-row"),
    pytest.param((6, 1), 1, id="one-column"),
    pytest.param((1, 1), 1, id="one-patch"),
]


@pytest.mark.parametrize(("grid", "distance"), GRIDS)
@pytest.mark.parametrize("path", ["explicit", "fused"])
def test_values_and_gradients_equal_explicit_attention(
    grid: tuple[int, int], distance: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = attention(grid, max_distance=distance)
    calls = count_calls(made, "attend" if path == "fused" else "attend_explicitly", monkeypatch)
    if path == "fused":  # the path of other devices and of compilers
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    explicit = ExplicitAttention(made)
    found = []
    x = tokens(grid)
    for module in (made, explicit):
        given = x.clone().requires_grad_()
        out = module(given)
        leaves = [given, *made.parameters()]
        found.append((out, torch.autograd.grad(torch.sin(out).sum(), leaves)))
    assert len(calls) == 1
    (ours, our_gradients), (theirs, their_gradients) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for mine, wanted in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-10)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_any_grid_and_distance(rows: int, cols: int, distance: int) -> None:
    made = attention((rows, cols), max_distance=distance)
    x = tokens((rows, cols))
    with torch.no_grad():
        torch.testing.assert_close(made(x), ExplicitAttention(made)(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("grid", "distance"), GRIDS)
def test_float32_stays_close(grid: tuple[int, int], distance: int) -> None:
    made = attention(grid, torch.float32, max_distance=distance)
    x = tokens(grid, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(made(x), ExplicitAttention(made)(x), rtol=1e-4, atol=2e-5)


def test_bf16_autocast_is_as_exact_as_the_explicit_form() -> None:
    made = attention((4, 5), torch.float32)
    x = tokens((4, 5), torch.float32)
    with torch.no_grad():
        exact = ExplicitAttention(made)(x)
        with torch.autocast("cpu", torch.bfloat16):
            ours, theirs = made(x), ExplicitAttention(made)(x)
    assert ours.dtype == torch.bfloat16
    ours_off, theirs_off = ((out.float() - exact).abs().max() for out in (ours, theirs))
    assert ours_off < 2 * theirs_off + 0.02
    assert ours_off < 0.05 * exact.abs().max()


def test_cpu_training_in_float32_and_bf16_is_as_exact_as_the_fused_path() -> None:
    exact, x = attention((4, 5)), tokens((4, 5))
    wanted = torch.autograd.grad(torch.sin(exact(x)).sum(), list(exact.parameters()))
    for dtype, off in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        made = attention((4, 5), torch.float32)
        made.load_state_dict(exact.state_dict())
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = made(x.float())
        found = torch.autograd.grad(torch.sin(out.float()).sum(), list(made.parameters()))
        for mine, want in zip(found, wanted, strict=True):
            assert (mine - want).abs().max() < off * want.abs().max()


def test_images_that_pass_a_few_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = attention((4, 5)), torch.randn(7, 21, 12, dtype=torch.float64)
    found = []
    for cached in (relative_position.CACHED, 3 * 2 * 21**2):
        monkeypatch.setattr(relative_position, "CACHED", cached)
        out = made(x)
        found.append((out, *torch.autograd.grad(out.sin().sum(), list(made.parameters()))))
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)


def test_every_part_of_the_tables_matters() -> None:
    """Otherwise the comparison above could not see an error there."""
    made = attention((3, 3), max_distance=1)
    x = tokens((3, 3))
    with torch.no_grad():
        before = made(x)
        for table in (made.rel_k_rows, made.rel_k_cols, made.rel_v_rows, made.rel_v_cols):
            for entry in range(4):
                kept = table[entry].clone()
                table[entry] += 0.5
                assert not torch.allclose(made(x), before, atol=1e-3)
                table[entry] = kept


def test_the_reference_itself_on_a_grid_by_hand() -> None:
    """Two columns in one row: distances are -1, 0, 1 across and 0 down."""
    rows = torch.tensor([[1000.0], [0.0], [200.0], [0.0]])
    cols = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    found = relative_positions(rows, cols, (1, 2), 1)[..., 0]
    cls = 1001.0
    assert found.tolist() == [[cls, cls, cls], [cls, 203.0, 204.0], [cls, 202.0, 203.0]]


def test_without_a_grid_it_is_plain_attention_of_any_scale() -> None:
    made = attention(None, scale=0.3)
    x = tokens((2, 2))
    q, k, v = (part.reshape(2, 5, 3, 8).transpose(1, 2) for part in made.qkv(x).chunk(3, -1))
    weights = (q @ k.transpose(-2, -1) * 0.3).softmax(-1)
    wanted = made.proj((weights @ v).transpose(1, 2).reshape(2, 5, 24))
    torch.testing.assert_close(made(x), wanted, rtol=1e-12, atol=1e-12)


def test_no_tensor_of_all_pairs_and_channels_is_built() -> None:
    """The largest tensors have N · N or 3 · N · W entries a head, not N · N · head_dim."""
    made = attention((8, 8))
    sizes = []
    with torch.profiler.profile(record_shapes=True) as profile:
        made(tokens((8, 8))).sum().backward()
    for event in profile.events():
        sizes += [math.prod(shape) for shape in event.input_shapes or ()]
    assert 2 * 3 * 65 * 65 <= max(sizes) <= 2 * 3 * 65 * 96 < 2 * 3 * 65 * 65 * 8


def test_masks_are_refused() -> None:
    made = attention((2, 2))
    with pytest.raises(ValueError, match="takes no mask"):
        made(tokens((2, 2)), attn_mask=torch.ones(5, 5))
    with pytest.raises(ValueError, match="takes no mask"):
        made(tokens((2, 2)), is_causal=True)
