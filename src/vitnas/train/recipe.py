"""Training recipes: everything that decides a training run, as one immutable value.

Recipes are YAML files, read strictly: an unknown field or a wrong value is an error, and all of
them are reported at once. `vitnas/recipes` holds those that come with the package.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from vitnas.data.transforms import INTERPOLATIONS, Augment, Input
from vitnas.errors import InputError, check_fields

_STRICT = {
    "extra": "forbid",
    "strict": True,
    "allow_inf_nan": False,
}  # how pydantic reads the classes below


BothSides: TypeAlias = Literal["mean_loss", "sum_logits"]
Parallel: TypeAlias = Literal["ddp", "fsdp"]
Loggers: TypeAlias = Literal["tensorboard", "csv", "wandb"]


@dataclass(frozen=True)
class Sampling:
    """Which subnets a step of supernet training trains.

    `uniform`: one, uniform in every gene; `stratified`: one, uniform in `cost` over `strata`
    intervals; `sandwich`: the largest, the smallest and `random_subnets` others; `bcnet`: one,
    uniform in every gene, and in the next step, if `complementary`, the one with the channels that
    it lacks; `official`: one, the very sequence that the original AutoFormer code draws.
    """

    name: Literal["uniform", "sandwich", "stratified", "bcnet", "official"] = "uniform"
    random_subnets: int = 2
    complementary: bool = True
    strata: int = 10
    cost: Literal["params", "macs"] = "params"

    def __post_init__(self) -> None:
        check_fields(
            self,
            random_subnets=(self.random_subnets >= 0, "0 or more"),
            strata=(self.strata >= 1, "1 or more"),
        )


@dataclass(frozen=True)
class Distillation:
    """Who else teaches. Weight is the share of the teacher in the loss.

    `inplace`: with sandwich sampling, the largest subnet teaches the others of its step.
    `teacher`: any name that `timm.create_model` takes; `kind` hard uses its most likely class, soft
    its probabilities at `temperature`.
    """

    inplace: bool = False
    teacher: str | None = None
    pretrained: bool = True
    kind: Literal["hard", "soft"] = "hard"
    weight: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_fields(
            self,
            weight=(0 <= self.weight <= 1, "between 0 and 1"),
            temperature=(self.temperature > 0, "above 0"),
        )


@dataclass(frozen=True)
class Optim:
    """Optimiser and schedule; the defaults are those of AutoFormer.

    `base_lr` is for 512 images a step and scales with the batch; `min_lr` and `warmup_lr` do not.
    `options` go to the optimiser (betas, eps). `schedule`: the rate changes every step, or every
    epoch as in the original. The last three restore accidents of the original: the schedule lags by
    an epoch, tables of relative positions decay, and skipped blocks receive momentum and decay.
    """

    name: str = "adamw"
    base_lr: float = 5e-4
    min_lr: float = 1e-5
    warmup_lr: float = 1e-6
    warmup_epochs: int = 20
    weight_decay: float = 0.05
    clip_grad: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    schedule: Literal["step", "epoch"] = "step"
    schedule_lag: bool = False
    decay_relative_position: bool = False
    step_skipped_blocks: bool = False

    def __post_init__(self) -> None:
        check_fields(
            self,
            base_lr=(self.base_lr > 0, "above 0"),
            min_lr=(self.min_lr >= 0, "0 or more"),
            warmup_lr=(self.warmup_lr >= 0, "0 or more"),
            warmup_epochs=(self.warmup_epochs >= 0, "0 or more"),
            weight_decay=(self.weight_decay >= 0, "0 or more"),
            clip_grad=(self.clip_grad is None or self.clip_grad > 0, "above 0, or null"),
        )


@dataclass(frozen=True)
class TrainRecipe:
    """A training run. Without `sampling` an ordinary model is trained, with it a supernet.

    `batch_size` is global: images of one optimiser step over all processes, `accumulate` parts
    after each other. `data`, `root` and `skip_broken` are for `open_data`; `space` is a name, a
    YAML file or the mapping itself; `model` holds options of the model family. Without `input`,
    images are prepared as is usual for the data, at `img_size` if it is given. `interpolation`, if
    given, is how they are resized, whatever `input` says; `augment.interpolation` is for training
    alone. Training images that take at most `cache_gb` GB are decoded only once and kept in the
    memory of each process, 0 is never. `evaluate_every` counts epochs, 0 is never. `sides` is for
    `model.sharing: bilateral`: a subnet's loss is the mean of its left and its right side's
    (BCNet), or one loss of the sum of their logits (the released code of ViTAS).

    The last `keep` checkpoints and the best are kept: that of the evaluation with the highest mean
    of its metrics. With `restore_best` its weights are the result, else the last ones. Several
    processes, of torchrun or SLURM, either hold all weights each (`ddp`), or a share of weights,
    gradients and optimiser state (`fsdp`, by block); the numbers are the same. `logger` is told
    what `metrics.jsonl` records.

    Raises:
        InputError: listing every wrong value.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    data: str | None = None
    root: str | None = None
    skip_broken: bool = False
    search_fraction: float = 0.1
    img_size: int | tuple[int, int] | None = None
    input: Input | None = None
    interpolation: str | None = None
    augment: Augment = field(default_factory=Augment)
    space: str | dict[str, Any] | None = None
    model: dict[str, Any] = field(default_factory=dict)
    drop_path: float = 0.1
    batch_size: int = 1024
    accumulate: int = 1
    epochs: int = 500
    optim: Optim = field(default_factory=Optim)
    sampling: Sampling | None = None
    sides: BothSides = "mean_loss"
    distillation: Distillation = field(default_factory=Distillation)
    ema_decay: float | None = None
    grad_checkpointing: bool = False
    compile: bool = False
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    seed: int = 0
    workers: int = 0
    cache_gb: float = 2.0
    evaluate_every: int = 1
    checkpoint_minutes: float = 10.0
    keep: int = 2
    restore_best: bool = False
    parallel: Parallel = "ddp"
    logger: Loggers | None = None

    def __post_init__(self) -> None:
        sampling = None if self.sampling is None else self.sampling.name
        if self.distillation.inplace and sampling != "sandwich":
            raise InputError(
                f"distillation.inplace is true, but sampling is {sampling}: it needs "
                "sampling.name=sandwich"
            )
        check_fields(
            self,
            search_fraction=(0 < self.search_fraction < 1, "above 0 and below 1"),
            input=(self.input is None or self.img_size is None, "absent where img_size is given"),
            interpolation=(
                self.interpolation in (None, *INTERPOLATIONS),
                f"null or one of {', '.join(INTERPOLATIONS)}",
            ),
            drop_path=(0 <= self.drop_path < 1, "0 or more and below 1"),
            batch_size=(self.batch_size >= 1, "1 or more"),
            accumulate=(
                self.accumulate >= 1 and self.batch_size % self.accumulate == 0,
                f"1 or more and a divisor of batch_size {self.batch_size}",
            ),
            epochs=(
                self.epochs > self.optim.warmup_epochs,
                f"more than optim.warmup_epochs, {self.optim.warmup_epochs}",
            ),
            ema_decay=(
                self.ema_decay is None or 0 <= self.ema_decay < 1,
                "0 or more and below 1, or null",
            ),
            seed=(self.seed >= 0, "0 or more"),
            workers=(self.workers >= 0, "0 or more"),
            cache_gb=(self.cache_gb >= 0, "0 or more"),
            compile=(
                not (self.compile and (self.grad_checkpointing or self.parallel == "fsdp")),
                "false where grad_checkpointing is set or parallel is fsdp",
            ),
            parallel=(
                self.parallel == "ddp" or self.precision != "16-mixed",
                "ddp where precision is 16-mixed",
            ),
            evaluate_every=(self.evaluate_every >= 0, "0 or more"),
            checkpoint_minutes=(self.checkpoint_minutes > 0, "above 0"),
            keep=(self.keep >= 2, "2 or more, as the last one may be damaged"),
            restore_best=(
                bool(self.evaluate_every) or not self.restore_best,
                "false where evaluate_every is 0",
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able record, which `load_recipe` reads back from a file."""
        record = asdict(self)
        return {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
