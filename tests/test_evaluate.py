"""Accuracy on a split, against counts by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from vitnas.errors import InputError
from vitnas.evaluate import evaluate, evaluate_subnets
from vitnas.space import Choice, Space
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


def test_subnets_score_as_their_extracted_models_and_the_model_is_in_evaluation_mode() -> None:
    space = Space(
        "vit",
        (
            Choice("depth", (1, 2)),
            Choice("mlp_ratio", (1.0, 2.0), "block"),
            Choice("num_heads", (1, 2), "block"),
            Choice("embed_dim", (16, 24)),
        ),
    )
    net, _ = make(space, num_classes=4, img_size=8, patch_size=4, head_dim=8, drop_path_rate=0.5)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 3, 8, 8, generator=generator)
    split = Split(images, torch.randint(4, (40,), generator=generator))
    archs = [space.smallest, space.largest]
    found = list(evaluate_subnets(net.train(), archs, split, batch_size=7))
    assert not net.training
    for arch, scores in zip(archs, found, strict=True):
        alone = evaluate(net.extract(arch).train(), split, batch_size=7)
        assert (scores.top1, scores.top5, scores.loss) == (alone.top1, alone.top5, alone.loss)
    net(images, space.largest).sum().backward()


def test_refusals() -> None:
    with pytest.raises(InputError, match="can't evaluate on an empty split"):
        evaluate(nn.Identity(), Split(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)))
    with pytest.raises(InputError, match="the split has label 3, the model has 3 classes"):
        evaluate(nn.Identity(), Split(torch.eye(3), torch.tensor([0, 3, 1])))
