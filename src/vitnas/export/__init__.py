"""Shipping models: to timm, ONNX, torch.export, ExecuTorch and int8, with a model card; labels."""

from __future__ import annotations

from vitnas.export.exporting import FORMATS, Exported, export_model
from vitnas.export.predict import Prediction, predict

__all__ = ["FORMATS", "Exported", "Prediction", "export_model", "predict"]
