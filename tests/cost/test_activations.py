"""Peak memory: traced without computing, against what torch's allocator really gave."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.profiler import ProfilerActivity, profile

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.cost import activations
from vitnas.cost.stopwatch import threads
from vitnas.errors import InputError

from .nets import OPTIONS, SPACES
from .test_backends import VITAS

CPU: dict[str, Any] = {"device": "cpu", "threads": 1}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    with threads(1):
        yield


def allocated(model: nn.Module, images: torch.Tensor) -> int:
    """Return the most bytes that torch's allocator gave during a forward pass, and the images."""
    with torch.inference_mode():
        model(images)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            model(images)
    now = most = 0
    events = profiler.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most + images.nbytes


def held(model: nn.Module, images: torch.Tensor) -> int:
    """Return the most bytes that tensors really held at once during a forward pass."""
    ignored = [*model.parameters(), *model.buffers()]
    with torch.inference_mode(), activations.Live(ignored) as live:
        live.watch(images)
        model(images)
    peak: int = live.peak
    return peak


def figures(arch: Arch, options: dict[str, Any], batch_size: int = 1) -> tuple[int, int, int]:
    """Return the peak as it is traced, as tensors really held it, and as the allocator gave it."""
    model = vitnas.build(arch, **options).eval()
    size = options.get("img_size", 224)
    sides = (size, size) if isinstance(size, int) else size
    images = torch.randn(batch_size, options.get("in_chans", 3), *sides)
    traced = cost.memory(arch, **options, **CPU, batch_size=batch_size)
    return traced, held(model, images), allocated(model, images)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", ["autoformer-tiny", "s3-tiny"])
def test_published_nets_need_what_the_allocator_gives(name: str, batch_size: int) -> None:
    traced, real, given = figures(vitnas.arch(name), {}, batch_size)
    assert traced == real == given


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("family", SPACES)
def test_the_peak_is_that_of_a_real_pass(family: str, options: dict[str, Any]) -> None:
    """The allocator gives more where attention is fused, or images so small that patches count."""
    space = SPACES[family]
    for arch in (space.smallest, space.largest, space.sample(0)):
        traced, real, given = figures(arch, options, batch_size=2)
        assert traced == real <= given


def test_fused_attention_needs_little_more() -> None:
    traced, _, given = figures(SPACES["vit"].smallest, {}, batch_size=2)
    assert given / 1.05 < traced < given


def test_vitas() -> None:
    traced, real, _ = figures(VITAS, {"img_size": 32, "num_classes": 3}, 2)
    assert traced == real


SMALL_S3 = vitnas.space("s3-digits")


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_stages_of_any_size(seed: int, batch_size: int) -> None:
    options = {"img_size": 8, "num_classes": 10, "in_chans": 1}
    traced, real, given = figures(SMALL_S3.sample(seed), options, batch_size)
    assert traced == real <= given


def test_more_threads_take_more_images_at_a_time() -> None:
    """Attention with relative positions works on as many images as the cores' caches hold."""
    arch = vitnas.arch("autoformer-tiny")
    one, four = (
        cost.memory(arch, device="cpu", threads=threads, batch_size=8) for threads in (1, 4)
    )
    assert one < four


def test_half_the_width_is_half_the_memory() -> None:
    arch = vitnas.arch("s3-tiny")
    assert cost.memory(arch, **CPU) == 2 * cost.memory(arch, **CPU, dtype="bfloat16")


def test_a_kind_is_traced_once_and_nothing_is_computed() -> None:
    arch = vitnas.arch("s3-base")
    activations.traced.cache_clear()
    first = cost.memory(arch, **CPU, batch_size=4096)  # more than a machine has
    assert first > 2**35
    kinds = activations.traced.cache_info().misses
    assert cost.memory(arch, **CPU, batch_size=4096) == first
    assert activations.traced.cache_info().misses == kinds
    assert kinds < sum(arch.depth)


def test_wrong_input() -> None:
    for wrong, message in (
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number from 1"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"img_size": 30}, "img_size 30x30 is no multiple of patch_size 16"),
    ):
        with pytest.raises(InputError, match=message):
            cost.memory(vitnas.arch("autoformer-tiny"), **{**CPU, **wrong})


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["autoformer-tiny", "s3-tiny"])
def test_a_gpu_allocates_little_more(name: str) -> None:
    """Its kernels have workspaces of their own, which are not counted."""
    arch = vitnas.arch(name)
    model = vitnas.build(arch).eval().cuda()
    images = torch.randn(8, 3, 224, 224, device="cuda")
    with torch.inference_mode():
        model(images)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model(images)
        torch.cuda.synchronize()
    real = torch.cuda.max_memory_allocated() - before + images.nbytes
    traced = cost.memory(arch, device="cuda", batch_size=8)
    assert traced <= real * 1.01
    assert traced >= real * 0.8
