"""Which engines could be faster than torch's own way, and after what time they are tried."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from histoseg.engines import Execution
from histoseg.engines.compiled import can_compile, compile_heads
from histoseg.engines.eager import Forward
from histoseg.engines.openvino_cpu import convert_heads
from histoseg.errors import ConfigError
from histoseg.runs.extras import why_lacking

# Seconds to make an engine, over the share of the time that it saves. Measured on two cores with the published network:
# OpenVINO takes 15 s and saves a sixth, compiling for a CPU 60 to 90 s and saves a twelfth.
OPENVINO_AFTER_S, COMPILE_AFTER_S = 90.0, 900.0
GPU_COMPILE_AFTER_S = 180.0  # Not measured: a minute, and a third


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An engine that may be tried.

    Attributes:
        name: What it is called.
        make: Makes it for windows like those given.
        after_s: How long the network must have run before.
        is_required: Whether it was asked for, so that its failure is an error.
    """

    name: str
    make: Callable[[Tensor], Forward]
    after_s: float = 0.0
    is_required: bool = False


def list_candidates(heads: nn.Module, execution: Execution, device: torch.device) -> list[Candidate]:
    """The engines to try, the most promising first.

    Where there is OpenVINO, compiling is not tried: it was slower in every measurement.

    Raises:
        ConfigError: If an engine is asked for that is not there.
    """
    if execution.engine == "auto":
        return _find("openvino", heads, execution, device) or _find("compile", heads, execution, device)
    if execution.engine == "eager":
        return []
    if missing := _why_missing(execution.engine, execution, device):
        raise ConfigError(f"--engine {execution.engine}: {missing}")
    (found,) = _find(execution.engine, heads, execution, device)
    return [Candidate(name=found.name, make=found.make, is_required=True)]


def _find(name: str, heads: nn.Module, execution: Execution, device: torch.device) -> list[Candidate]:
    """The candidate of that name; empty if it cannot run here."""
    if _why_missing(name, execution, device):
        return []
    if name == "openvino":
        return [Candidate(name=name, make=partial(convert_heads, heads), after_s=OPENVINO_AFTER_S)]
    after_s = GPU_COMPILE_AFTER_S if device.type == "cuda" else COMPILE_AFTER_S
    return [Candidate(name=name, make=lambda _: compile_heads(heads, execution.precision), after_s=after_s)]


def _why_missing(name: str, execution: Execution, device: torch.device) -> str:
    """Why an engine cannot run here; empty if it can."""
    if name == "compile":
        return "" if can_compile(device) else "torch finds no compiler; install gcc and g++"
    if device.type != "cpu":
        return "it is for CPUs; use auto or compile on a GPU"
    if execution.precision != "fp32":
        return "it computes in fp32 here; leave --precision out"
    return why_lacking("openvino")
