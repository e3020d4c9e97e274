"""Runs ONNX models as somebody who has ONNX Runtime alone: a script, for a fresh environment.

Its arguments are a file of images, a model, and a file of its logits.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    """Run a model on batches of several sizes."""
    for name in ("vitnas", "torch", "timm", "onnx"):
        assert find_spec(name) is None, name
    images, wanted = np.load(sys.argv[1]), np.load(sys.argv[3])
    session = onnxruntime.InferenceSession(Path(sys.argv[2]).read_bytes())
    for count in (1, 2, len(images)):
        (logits,) = session.run(None, {"images": images[:count]})
        np.testing.assert_allclose(logits, wanted[:count], rtol=0, atol=1e-4)


if __name__ == "__main__":
    main()
