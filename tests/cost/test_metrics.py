"""Costs by name."""

from __future__ import annotations

from typing import Any

import pytest

from vitnas import cost
from vitnas.cost.metrics import METRICS, check_metrics, metrics
from vitnas.errors import InputError

from .clocks import OPTIONS, SPACE
from .test_table import TABLE

ARCH = SPACE.sample(1)


def test_every_metric_by_name() -> None:
    settings = cost.settings("cpu", threads=1, batch_size=2)
    found = metrics(METRICS, OPTIONS, settings=settings, table=TABLE)
    assert list(found) == ["params", "macs", "latency", "memory"]
    assert found["params"](ARCH) == cost.params(ARCH, **OPTIONS)
    assert found["macs"](ARCH) == cost.macs(ARCH, **OPTIONS)
    assert found["latency"](ARCH) == TABLE(ARCH)
    given: dict[str, Any] = {"device": "cpu", "threads": 1, "batch_size": 2}
    assert found["memory"](ARCH) == cost.memory(ARCH, **OPTIONS, **given)


def test_params_and_macs_are_always_there_and_conventions_have_names() -> None:
    assert list(metrics((), OPTIONS)) == ["params", "macs"]
    options = {"num_classes": 1000, "img_size": 224}
    found = metrics(["cream"], options)
    assert list(found) == ["params", "macs", "cream"]
    import vitnas

    arch = vitnas.arch("autoformer-tiny")
    assert found["cream"](arch) == cost.convention("cream", arch)


def test_refusals() -> None:
    with pytest.raises(InputError, match="unknown metric 'latencey'; did you mean 'latency'"):
        check_metrics(["params", "latencey"])
    with pytest.raises(InputError, match="unknown metric 'flops'"):
        metrics(["flops"], OPTIONS)
    with pytest.raises(InputError, match="convention cream covers autoformer architectures"):
        metrics(["cream"], OPTIONS)["cream"](ARCH)
    for name in ("latency", "memory"):
        with pytest.raises(ValueError, match=f"{name} needs "):
            metrics([name], OPTIONS)
