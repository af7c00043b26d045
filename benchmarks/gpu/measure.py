"""How a row is measured: a device is waited for before each look at the clock, and what runs first is not counted."""

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from loading import measure_loading
from predicting import measure_prediction
from ranks import measure_on_ranks
from rows import CannotBeMeasuredError, Figures, Outcome, Row
from setting import Setting, describe, halved, require_bf16, require_compiler, training_of
from stepping import measure_steps

from histoseg.runs.config import Settings
from histoseg.training.process import Process


def outcome_of(row: Row, setting: Setting) -> Outcome:
    """What measuring a row gave, whatever happens on the way."""
    try:
        return Outcome(row=row, figures=_measure(row, setting), card=card_of(setting.device))
    except CannotBeMeasuredError as error:
        return Outcome(row=row, reason=str(error))
    except Exception as error:  # One row that fails must not hide the others.
        return Outcome(row=row, reason=in_one_line(error), failed=True)
    finally:
        forget(setting.device)


def _measure(row: Row, setting: Setting) -> Figures:
    if row.compiled:
        require_compiler(setting.device)
    if row.precision == "bf16":
        require_bf16(setting.device)
    if row.doing == "loading":
        return measure_loading(row, setting)
    if row.doing == "prediction":
        return measure_prediction(row, setting)
    process = Process(device=torch.device(setting.device))
    measure = measure_on_ranks if row.ranks > 1 else partial(measure_steps, process=process)
    return fitting(partial(measure, row, setting), training_of(row, setting).stage.method, setting.device)


def fitting(measure: Callable[[Settings], Figures], method: Settings, device: str) -> Figures:
    """The figures of a training with its own batch or, while the memory does not suffice, with half as much at a time.

    Raises:
        MemoryError: If not even the smallest batch fits.
    """
    tried: list[str] = []
    smaller = method
    while True:
        found = _unless_too_large(partial(measure, smaller))
        if found is not None:
            note = f" ({'; '.join(tried)} did not fit)" if tried else ""
            return replace(found, of=found.of + note)
        forget(device)  # Only now: the error held on to the tensors.
        tried.append(describe(smaller))
        halves = halved(smaller)
        if halves is None:
            raise MemoryError(f"too little memory for {tried[-1]}")
        smaller = halves


def _unless_too_large(measure: Callable[[], Figures]) -> Figures | None:
    try:
        return measure()
    except Exception as error:
        # Of torch, CUDA, cuDNN or cuBLAS; a rank's comes as its text.
        if "out of memory" in str(error).lower() or "ALLOC_FAILED" in str(error):
            return None
        raise


def forget(device: str) -> None:
    """Give back what a row took, compiled code included."""
    gc.collect()
    torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()


def card_of(device: str) -> str:
    """What torch calls the device."""
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def in_one_line(error: BaseException) -> str:
    """The kind of an error and its last line: those of a rank begin with its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]
