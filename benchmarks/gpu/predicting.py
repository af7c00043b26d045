"""Whole images through a network, as predictions and scores are made.

Of Cerberus without its objects: what separates them runs on the CPU and takes as long as there are objects, of
which a network with random weights finds any number.
"""

import time
from collections.abc import Callable
from functools import partial

import made_up
import torch
from devices import count_flops, forget_peak, peak_gib, share_of_peak, wait_for
from rows import Figures, Row
from setting import Setting, network_of, training_of

from histoseg.engines import Execution
from histoseg.maps.windows import MarginWindows, OverlapWindows, read_windows
from histoseg.models.cerberus.network import Cerberus
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.models.network import Network, require_kind
from histoseg.models.unet.network import UNet
from histoseg.models.unet.predict import WINDOWS_AT_ONCE, predict
from histoseg.runs.config import Run
from histoseg.training.loop import use_device
from histoseg.training.process import Process
from histoseg.types import Image

UNCOUNTED, LEAST = 2, 3  # Images


def measure_prediction(row: Row, setting: Setting) -> Figures:
    """Figures of one image at a time."""
    training, process = training_of(row, setting), Process(device=torch.device(setting.device))
    network = network_of(training)
    use_device(network, training.stage, process)
    network.eval()
    image = made_up.draw_large(setting.size.predict_px)
    execution = Execution(engine="compile" if row.compiled else "eager", precision=row.precision)
    call = predictor(training.run, network, image, execution)
    if row.compiled and isinstance(network, UNet):  # A Cerberus is compiled by its engine.
        network.compile_parts()
    times = _time(call, process.device, setting.size.timed_s)
    memory, seconds = peak_gib(process.device), sum(times) / len(times)
    network.interpret_parts()
    flops = count_flops(f"{row.workload} prediction", call, process.device)
    tera = None if flops is None else flops / seconds / 1e12
    return Figures(
        of=f"an image of {setting.size.predict_px}²",
        images_per_s=1 / seconds,
        seconds=seconds,
        num_timed=len(times),
        tera=tera,
        share=share_of_peak(tera, row.precision, process.device),
        peak_gib=memory,
        waiting=_reading_s(training.run, image) / seconds,
    )


def predictor(run: Run, network: Network, image: Image, execution: Execution) -> Callable[[], object]:
    """What predicts the image: every decoder of a Cerberus, as on slides; the head of one task of a U-Net."""
    windows = run.evaluator
    if isinstance(windows, MarginWindows):
        cerberus = require_kind(network, Cerberus)
        regions = CerberusRegions(cerberus, run.data.mpp, execution=execution)
        return partial(regions.evidence, image, windows.over(image, regions.unit_px), (image.shape[0], image.shape[1]))
    if not isinstance(windows, OverlapWindows):
        raise TypeError(f"{type(windows).__name__} has no windows")
    unet = require_kind(network, UNet)
    return partial(predict, unet, next(iter(unet.heads)), image, windows)


def _time(call: Callable[[], object], device: torch.device, timed_s: float) -> list[float]:
    """Seconds of each call, for so long at least; those that are not counted come first."""
    times: list[float] = []
    for number in range(UNCOUNTED):
        call()
        wait_for(device)
        if number == UNCOUNTED - 1:
            forget_peak(device)
    while sum(times) < timed_s or len(times) < LEAST:
        begin = time.perf_counter()
        call()
        wait_for(device)
        times.append(time.perf_counter() - begin)
    return times


def _reading_s(run: Run, image: Image) -> float:
    """How long cutting all windows takes, during which a GPU may have nothing to do."""
    windows = run.evaluator
    begin = time.perf_counter()
    if isinstance(windows, MarginWindows | OverlapWindows):
        for _ in read_windows(image, windows.over(image), WINDOWS_AT_ONCE):
            pass
    return time.perf_counter() - begin
