"""Ways to run a network on the windows of slides, and which of them is the fastest here.

`eager.py`, `compiled.py` and `openvino_cpu.py` each turn a module into a function of windows, and `candidates.py` says
which of them this machine has. `trial.py` compares two on the same windows, in time and result. `runner.py` runs one,
tries others once that pays, and with `memory.py` finds how many windows fit into a GPU at once.
"""

from dataclasses import dataclass
from typing import Literal

from histoseg.errors import ConfigError
from histoseg.runs.config import Precision

EngineName = Literal["auto", "eager", "compile", "openvino"]
ENGINES: tuple[EngineName, ...] = ("auto", "eager", "compile", "openvino")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a network is run.

    Engines of one precision give the same up to rounding, as two processors do; so results do not depend on `engine`
    in what they are made of. Precisions do not: bfloat16 has three digits, and changes pixels at the edges of objects.

    Attributes:
        engine: "auto" takes the fastest whose results equal those of "eager".
        precision: "fp32", which is the same on every machine, or "bf16", for GPUs that compute it faster.
    """

    engine: EngineName = "auto"
    precision: Precision = "fp32"


def require_eager(execution: Execution | None, network: str) -> None:
    """Nothing, if a network that has one way to be run is asked for no other.

    Raises:
        ConfigError: If an engine or a precision is asked for.
    """
    if execution is not None and (execution.engine not in ("auto", "eager") or execution.precision != "fp32"):
        raise ConfigError(
            f"a {network} runs eagerly in fp32, not by {execution}; leave --engine and --precision out"
            " (SET=execution.…)"
        )
