from __future__ import annotations

from dataclasses import replace

import pytest

from vitnas.data.transforms import Augment
from vitnas.errors import InputError
from vitnas.train.recipe import Distillation, Optim, Sampling, TrainRecipe


def test_every_wrong_value_is_listed() -> None:
    with pytest.raises(InputError) as error:
        TrainRecipe(batch_size=0, epochs=20, drop_path=1.0, seed=-1)
    assert str(error.value) == (
        "drop_path is 1.0, it must be 0 or more and below 1; batch_size is 0, it must be 1 or "
        "more; epochs is 20, it must be more than optim.warmup_epochs, 20; seed is -1, it must be "
        "0 or more"
    )
    with pytest.raises(InputError, match="base_lr is -1, it must be above 0; clip_grad is 0, it"):
        Optim(base_lr=-1, clip_grad=0)
    with pytest.raises(InputError, match="weight is 2, it must be between 0 and 1; temperature"):
        Distillation(weight=2, temperature=0)
    with pytest.raises(InputError, match="random_subnets is -1, it must be 0 or more; strata is 0"):
        Sampling(random_subnets=-1, strata=0)


def test_interpolations_that_there_are_not() -> None:
    said = "interpolation is cubic, it must be null or one of nearest, bilinear, bicubic, "
    for kind in (TrainRecipe, Augment):
        with pytest.raises(InputError, match=said):
            kind(interpolation="cubic")


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(InputError) as error:
        TrainRecipe(distillation=Distillation(inplace=True), sampling=Sampling("uniform"))
    assert str(error.value) == (
        "distillation.inplace is true, but sampling is uniform: it needs sampling.name=sandwich"
    )
    with pytest.raises(InputError, match="but sampling is None: it needs sampling"):
        TrainRecipe(distillation=Distillation(inplace=True))
    with pytest.raises(InputError, match="accumulate is 3, it must be 1 or more and a divisor of"):
        TrainRecipe(accumulate=3)


def test_it_is_a_value() -> None:
    assert TrainRecipe() == TrainRecipe()
    assert replace(TrainRecipe(), seed=1) != TrainRecipe()
