"""The network converted to OpenVINO, which is faster on CPUs; the optional extra `openvino`."""

import sys
import warnings
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from histoseg.engines.eager import Forward
from histoseg.runs.extras import import_extra


def convert_heads(heads: nn.Module, example: Tensor) -> Forward:
    """The module for windows of the size of an example, in float32, on as many threads as torch has.

    It takes one window after the other, and writes nothing to disk.
    """
    openvino = _import_openvino()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's exporter calls functions of its own that it has deprecated.
        model = openvino.convert_model(torch.export.export(heads, (example[:1],)))
    compiled = openvino.Core().compile_model(model, "CPU", _settings())

    def forward(images: Tensor) -> tuple[Tensor, ...]:
        found = [compiled(image.numpy(), share_inputs=True).to_tuple() for image in torch.split(images, 1)]
        return tuple(torch.from_numpy(np.concatenate(each)) for each in zip(*found, strict=True))

    return forward


def _import_openvino() -> ModuleType:
    """OpenVINO, without the module by which it reports its use to its makers: it goes without if that is absent."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None means that there is none.
    return import_extra("openvino")


def _settings() -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",  # Some CPUs have bfloat16, which OpenVINO would take by itself.
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # Other threads of ours need cores as well.
    }
