"""How an export is used, as the model card says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitnas.export.markdown import fenced
from vitnas.export.shipment import Shipment


def text(shipped: Shipment, to: str, notes: Mapping[str, Any]) -> str:
    """Return text and code for a format."""
    if to == "timm":
        return _timm(notes)
    shape = f"(batch, {shipped.input.channels}, {', '.join(map(str, shipped.input.img_size))})"
    return f"{_OTHER[to].format(shape=shape)}\n\nThe order of the classes stands in `config.json`."


def _timm(notes: Mapping[str, Any]) -> str:
    code = 'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()\n' + _TRANSFORM
    if notes["stock"]:
        return (
            "timm alone loads it, from a folder as here or from the hub (`hf-hub:OWNER/NAME`):\n\n"
            + fenced(f"import timm\n\n{code}", "python")
        )
    first = 'import sys\n\nimport timm\n\nsys.path.insert(0, "FOLDER")\nimport modeling\n\n'
    return (
        "timm and torch load it; `modeling.py`, which comes with it, registers the architecture "
        f"`{notes['architecture']}`:\n\n{fenced(first + code, 'python')}\n\n"
        "From the hub: download the folder (`huggingface_hub.snapshot_download`), read "
        "`modeling.py`, import it, and use `hf-hub:OWNER/NAME`. Without timm's registry: "
        '`modeling.load("FOLDER")`.'
    )


_TRANSFORM = """config = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**config, is_training=False)"""

_OTHER = {
    "onnx": "`model.onnx` takes float32 images {shape} of any batch as `images`, normalised as "
    "below, and gives `logits`.\n\n"
    + fenced(
        "import onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("model.onnx")\n'
        '(logits,) = session.run(None, {{"images": images}})',
        "python",
    ),
    "torch-export": "`model.pt2` is a torch.export program for images {shape} of any batch.\n\n"
    + fenced('import torch\n\nlogits = torch.export.load("model.pt2").module()(images)', "python"),
    "executorch": "`model.pte` is an ExecuTorch program on XNNPACK for one image, shape {shape} "
    "with batch 1.\n\n"
    + fenced(
        "from executorch.runtime import Runtime\n\n"
        'forward = Runtime.get().load_program("model.pte").load_method("forward")\n'
        "(logits,) = forward.execute([image])",
        "python",
    ),
}
_OTHER["int8"] = _OTHER["onnx"].replace(
    "`model.onnx` takes", "`model.onnx`, with 8-bit weights, takes"
)
