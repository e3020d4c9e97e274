"""Accuracy on a split, against counts by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.data.cache import EvalSet
from vitnas.errors import InputError
from vitnas.evaluate import Scores, Stopped, evaluate, evaluate_subnets, hard_first
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing.models import make


class Split:
    """Labelled logits as a split, in batches."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int, device: str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self.images[part], self.labels[part]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_top1_top5_and_loss(batch_size: int) -> None:
    logits = torch.arange(10.0).repeat(4, 1)
    labels = torch.tensor([9, 5, 4, 9])
    scores = evaluate(nn.Identity(), Split(logits, labels), batch_size=batch_size)
    assert (scores.top1, scores.top5, scores.images) == (50, 75, 4)
    wanted = nn.functional.cross_entropy(logits, labels).item()
    assert scores.loss == pytest.approx(wanted, rel=1e-6)
    assert scores.images_per_s > 0
    assert set(scores.to_dict()) == {"top1", "top5", "loss", "images", "images_per_s"}


def test_random_logits_against_sorting() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(50, 8, generator=generator)
    labels = torch.randint(8, (50,), generator=generator)
    scores = evaluate(nn.Identity(), Split(logits, labels), batch_size=16)
    places = [
        sorted(row, reverse=True).index(row[label])
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert scores.top1 == 100 * sum(place == 0 for place in places) / 50
    assert scores.top5 == 100 * sum(place < 5 for place in places) / 50
    chances = logits.double().softmax(1)[range(50), labels]
    assert scores.loss == pytest.approx(-chances.log().mean().item(), rel=1e-6)


def test_fewer_than_five_classes() -> None:
    scores = evaluate(nn.Identity(), Split(torch.eye(3), torch.tensor([0, 1, 0])))
    assert scores.top5 == 100
    assert scores.top1 == pytest.approx(200 / 3)


def _space(family: str) -> Space:
    return Space(
        family,
        (
            Choice("depth", (1, 2, 3)),
            Choice("mlp_ratio", (1.0, 2.0), "block"),
            Choice("num_heads", (1, 2), "block"),
            Choice("embed_dim", (16, 24)),
        ),
    )


def _case(family: str, sharing: str = "prefix") -> tuple[Supernet, list[Arch], EvalSet]:
    """Return a random net, archs of which some begin alike, and random labelled images."""
    space, images = _space(family), 40
    options: dict[str, Any] = {"img_size": 8, "patch_size": 4, "head_dim": 8}
    net, _ = make(space, sharing, num_classes=4, drop_path_rate=0.5, **options)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(4, (images,), generator=generator)
    split = EvalSet(pixels, labels, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    long = space.largest
    short = long.replace(depth=1, mlp_ratio=long.mlp_ratio[:1], num_heads=long.num_heads[:1])
    other = long.replace(mlp_ratio=(2.0, 2.0, 1.0))
    archs = [space.smallest, long, short, other, long, *(space.sample(seed) for seed in range(6))]
    return net, archs, split


def _two_sides() -> tuple[Supernet, list[Arch], EvalSet]:
    """Return a bilateral net whose classes depend on the image, labelled by both sides in turn."""
    net, archs, split = _case("vit", "bilateral")
    images, _ = next(split.batches(40))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("bias") or name in ("pos_embed", "cls_token"):
                parameter.mul_(0.1)
        net.get_parameter("patch_embed.proj.weight").mul_(3)
        left, right = (net(images, archs[0], side).argmax(1) for side in ("left", "right"))
    return net, archs, replace(split, labels=torch.where(torch.arange(40) % 2 == 0, left, right))


def _figures(scores: Scores) -> tuple[float, float, float, int]:
    return scores.top1, scores.top5, scores.loss, scores.images


@pytest.mark.parametrize("family", ["vit", "autoformer"])
def test_together_is_as_one_by_one(family: str) -> None:
    net, archs, split = _case(family)
    together = evaluate_subnets(net.train(), archs, split, batch_size=7)
    assert not net.training
    for arch, scores in zip(archs, together, strict=True):
        (alone,) = evaluate_subnets(net, [arch], split, batch_size=7)
        static = evaluate(net.extract(arch).train(), split, batch_size=7)
        assert _figures(scores) == _figures(alone) == _figures(static)
    assert len({scores.images_per_s for scores in together}) == 1
    net(next(split.batches(2))[0], archs[0]).sum().backward()  # nothing of inference mode is left
    assert evaluate_subnets(net, [], split) == []


def test_a_bilateral_subnet_scores_the_mean_of_its_sides() -> None:
    net, archs, split = _two_sides()
    differ = 0
    for arch, scores in zip(archs, evaluate_subnets(net, archs, split, batch_size=7), strict=True):
        left, right = (
            evaluate(net.extract(arch, side), split, batch_size=7) for side in ("left", "right")
        )
        differ += left.top1 != right.top1
        assert scores.top1 == (left.top1 + right.top1) / 2
        assert scores.top5 == (left.top5 + right.top5) / 2
        assert scores.loss == pytest.approx((left.loss + right.loss) / 2, rel=1e-6)
        assert scores.images == 40
    assert differ >= 5
    (largest,) = evaluate_subnets(net, [net.largest], split, batch_size=7)
    assert _figures(largest) == _figures(evaluate(net.extract(net.largest), split, batch_size=7))


def test_images_that_both_sides_get_wrong_come_first() -> None:
    net, archs, split = _two_sides()
    ((images, labels),) = split.batches(40)
    judges = [net.largest, archs[0]]  # one side, and two
    with torch.no_grad():
        (whole,), small = (
            [(net(images, arch, side).argmax(1) != labels).double() for side in net.sides(arch)]
            for arch in judges
        )
    wrong = whole + (small[0] + small[1]) / 2
    ordered = hard_first(net, split, judges, batch_size=40)
    assert ordered.order is not None
    assert 0.5 in wrong.diff().abs()
    assert torch.all(wrong[ordered.order].diff() <= 0)


@pytest.mark.parametrize("sharing", ["prefix", "bilateral"])
def test_hopeless_subnets_are_stopped_and_others_are_not_touched(sharing: str) -> None:
    net, archs, split = _case("vit", sharing)
    with torch.no_grad():
        split = replace(split, labels=net(next(split.batches(40))[0], archs[1]).argmax(1))
    split = hard_first(net, split, archs)
    full = dict(zip(archs, evaluate_subnets(net, archs, split, batch_size=5), strict=True))
    bar = sorted(scores.top1 for scores in full.values())[-3]
    asked: dict[Arch, list[float]] = {}

    def hopeless(arch: Arch, at_most: float) -> bool:
        asked.setdefault(arch, []).append(at_most)
        return at_most < bar

    found = evaluate_subnets(net, archs, split, batch_size=5, hopeless=hopeless)
    for arch, result in zip(archs, found, strict=True):
        bounds = asked[arch]
        assert bounds == sorted(bounds, reverse=True)
        assert bounds[-1] >= full[arch].top1
        if isinstance(result, Stopped):
            assert result == Stopped(5 * len(bounds), bounds[-1])
            assert full[arch].top1 <= result.at_most < bar
            assert all(bound >= bar for bound in bounds[:-1])
        else:
            assert _figures(result) == _figures(full[arch])
            assert len(bounds) == 7  # not after the last batch: then the score is known
    assert {isinstance(result, Stopped) for result in found} == {True, False}
    kept = {arch for arch, result in zip(archs, found, strict=True) if isinstance(result, Scores)}
    assert kept >= {arch for arch, scores in full.items() if scores.top1 >= bar}


def test_all_may_be_stopped_and_then_no_image_is_read() -> None:
    net, archs, split = _case("vit")
    read = 0

    class Counting(Split):
        def batches(self, batch_size: int, device: str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
            nonlocal read
            for images, labels in split.batches(batch_size, device):
                read += len(labels)
                yield images, labels

    counting = Counting(split.images, split.labels)
    found = evaluate_subnets(net, archs, counting, batch_size=8, hopeless=lambda *_: True)
    assert read == 8
    assert all(isinstance(result, Stopped) and result.images == 8 for result in found)
    (late,) = evaluate_subnets(net, archs[:1], split, batch_size=40, hopeless=lambda *_: True)
    assert isinstance(late, Scores)


@pytest.mark.parametrize("family", ["vit", "autoformer"])
def test_hard_images_come_first(family: str) -> None:
    net, archs, split = _case(family)
    ordered = hard_first(net, split, archs[:3], batch_size=6)
    assert ordered.images.data_ptr() == split.images.data_ptr()
    ((images, labels),) = split.batches(40)
    with torch.no_grad():
        each = [net(images, arch) for arch in archs[:3]]
    losses = torch.stack([F.cross_entropy(logits, labels, reduction="none") for logits in each])
    wrong = torch.stack([logits.argmax(1) != labels for logits in each]).sum(0)
    ((moved, new_labels),) = ordered.batches(40)
    places = [int((images == one).flatten(1).all(1).nonzero()) for one in moved]
    assert sorted(places) == list(range(40))
    assert torch.equal(labels[places], new_labels)
    assert len(set(wrong.tolist())) > 1
    assert torch.all(wrong[places].diff() <= 0)
    alike = wrong[places].diff() == 0
    assert torch.all(losses.mean(0)[places].diff()[alike] <= 1e-6)
    for before, after in zip(
        evaluate_subnets(net, archs, split, batch_size=9),
        evaluate_subnets(net, archs, ordered, batch_size=9),
        strict=True,
    ):
        assert (before.top1, before.top5) == (after.top1, after.top5)
        assert before.loss == pytest.approx(after.loss, rel=1e-5)
    assert torch.equal(hard_first(net, split, archs[:3], batch_size=6).order, ordered.order)  # type: ignore[arg-type]


def test_equally_hard_images_keep_their_order() -> None:
    net, archs, split = _case("vit")
    same = EvalSet(split.images[:1].repeat(9, 1, 1, 1), split.labels[:1].repeat(9), (0.5,), (0.5,))
    ordered = hard_first(net, same, archs[:1], batch_size=9)
    assert ordered.order is not None
    assert ordered.order.tolist() == list(range(9))


def test_refusals() -> None:
    with pytest.raises(InputError, match="can't evaluate on an empty split"):
        evaluate(nn.Identity(), Split(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)))
    with pytest.raises(InputError, match="the split has label 3, the model has 3 classes"):
        evaluate(nn.Identity(), Split(torch.eye(3), torch.tensor([0, 3, 1])))
    net, archs, split = _case("vit")
    empty = Split(torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.long))
    with pytest.raises(InputError, match="can't evaluate on an empty split"):
        evaluate_subnets(net, archs, empty)
    foreign = EvalSet(split.images, split.labels + 1, split.mean, split.std)
    with pytest.raises(InputError, match="the split has label 4, the model has 4 classes"):
        evaluate_subnets(net, archs, foreign)
    with pytest.raises(InputError, match="the split has label 4, the model has 4 classes"):
        hard_first(net, foreign, archs)
    with pytest.raises(InputError, match="ordering images by difficulty needs at least one"):
        hard_first(net, split, [])
    outside = archs[0].replace(embed_dim=20)
    with pytest.raises(InputError, match="embed_dim"):
        evaluate_subnets(net, [*archs, outside], split)
