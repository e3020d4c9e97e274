"""What guesses scores, so that of several proposals the most promising one is evaluated.

A predictor learns from the scores measured so far: gradient boosting, or a Gaussian process, from
scikit-learn, on the genes. A zero-cost proxy (`vitnas.proxies`) takes its place as a predictor that
learns nothing. Neither replaces a measured score.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vitnas.arch import Arch, Scalar
from vitnas.errors import unknown
from vitnas.search.encoding import choices, encode
from vitnas.search.ledger import Record
from vitnas.search.ranking import kendall_tau, spearman
from vitnas.space import Space

LEAST = 20  # scores from which to learn
PROXIES = ("synflow", "dss")  # of `vitnas.proxies`, named here without torch


class Predictor(Protocol):
    """Guesses scores, deterministically: the same archs and scores give the same guesses."""

    @property
    def name(self) -> str:
        """What it is, for the ledger."""

    @property
    def learns(self) -> bool:
        """Whether it learns from measured scores, so that each of them matters."""

    def fit(self, archs: Sequence[Arch], scores: Sequence[float]) -> bool:
        """Learn from all scores so far; False if they are too few to predict anything."""

    def predict(self, archs: Sequence[Arch]) -> list[float]:
        """Return a guess for each architecture; only their order counts."""


@dataclass
class Proxy:
    """A predictor that learns nothing: a function of an architecture, called once for each."""

    name: str
    score: Callable[[Arch], float]
    learns: bool = False
    _known: dict[Arch, float] = field(default_factory=dict)

    def fit(self, archs: Sequence[Arch], scores: Sequence[float]) -> bool:
        """Return True: there is nothing to learn."""
        return True

    def predict(self, archs: Sequence[Arch]) -> list[float]:
        """Return the proxy's scores."""
        for arch in archs:
            if arch not in self._known:
                self._known[arch] = self.score(arch)
        return [self._known[arch] for arch in archs]


class Learned:
    """A regression of scikit-learn on the features of architectures."""

    learns = True

    def __init__(self, name: str, space: Space, make: Callable[[], Any]) -> None:
        self.name = name
        self._features, self._make = features(space), make
        self._model: Any = None

    def fit(self, archs: Sequence[Arch], scores: Sequence[float]) -> bool:
        """Fit a new model, if there are at least 20 scores that are not all equal."""
        if len(scores) < LEAST or len(set(scores)) < 2:
            return False
        self._model = self._make()
        with warnings.catch_warnings():
            # scikit-learn warns where the best length scale is at the end of its range
            warnings.simplefilter("ignore")
            self._model.fit(list(map(self._features, archs)), list(scores))
        return True

    def predict(self, archs: Sequence[Arch]) -> list[float]:
        """Return the model's mean."""
        return [float(value) for value in self._model.predict(list(map(self._features, archs)))]


def learned(name: str, space: Space) -> Learned:
    """Return the predictor `gbrt` (gradient-boosted regression trees) or `gp`.

    Raises:
        InputError: there is no such predictor.
    """
    if name not in LEARNED:
        raise unknown("predictor", name, LEARNED)
    return Learned(name, space, LEARNED[name])


def features(space: Space) -> Callable[[Arch], list[float]]:
    """Return what describes an architecture by numbers, equally many for all of a space.

    These are its genes, 0 in layers that it lacks; one number for each text that a gene may be;
    and the sum of each gene over layers and stages.
    """
    columns: list[tuple[str, Scalar | None]] = []
    for name, values in choices(space).items():
        texts = [value for value in values if isinstance(value, str)]
        columns += [(name, text) for text in texts] or [(name, None)]
    sums = sorted({name.partition("[")[0] for name, text in columns if "[" in name and not text})

    def describe(arch: Arch) -> list[float]:
        genes = encode(space, arch)
        row = [
            float(genes.get(name, 0)) if text is None else float(genes.get(name) == text)
            for name, text in columns
        ]
        return row + [_total(arch[name]) for name in sums]

    return describe


@dataclass(frozen=True)
class Agreement:
    """How well predictions ordered what was measured after them, from -1 to 1."""

    subnets: int
    spearman: float
    kendall: float

    def __str__(self) -> str:
        return (
            f"rank correlation with the score {self.spearman:.2f} (Spearman), "
            f"{self.kendall:.2f} (Kendall) over {self.subnets:,} subnets, each predicted before "
            "it was measured"
        )


def agreement(records: Sequence[Record]) -> Agreement | None:
    """Compare predictions with the scores measured after them; None if there are too few.

    These subnets were evaluated because they were promising, so the figure is that of the search,
    lower than it would be over the whole space.
    """
    pairs = [
        (record.predicted, record.score)
        for record in records
        if record.state == "complete" and record.predicted is not None
    ]
    try:
        predicted, measured = zip(*pairs, strict=True)
        return Agreement(
            len(pairs), spearman(predicted, measured), kendall_tau(predicted, measured)
        )
    except ValueError:  # none, or all equal
        return None


def _total(value: Any) -> float:
    return sum(map(_total, value)) if isinstance(value, tuple) else float(value)


def _trees() -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(subsample=0.8, random_state=0)


def _process() -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kernel = Matern(length_scale=5.0, nu=2.5) + WhiteKernel(0.1)
    return make_pipeline(
        StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    )


LEARNED: Mapping[str, Callable[[], Any]] = {"gbrt": _trees, "gp": _process}
