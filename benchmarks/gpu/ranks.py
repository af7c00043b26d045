"""A training over several ranks on this machine, each a process with a GPU of its own (on a CPU, none)."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from rows import CannotBeMeasuredError, Figures, Row
from setting import Setting
from stepping import measure_steps
from torch.multiprocessing.spawn import spawn

from histoseg.runs.config import Settings
from histoseg.training.process import Process
from histoseg.types import Place

FIGURES = "figures.json"


def measure_on_ranks(row: Row, setting: Setting, method: Settings) -> Figures:
    """The figures of all ranks together.

    Raises:
        CannotBeMeasuredError: If there are fewer GPUs than ranks.
    """
    if setting.device == "cuda" and torch.cuda.device_count() < row.ranks:
        raise CannotBeMeasuredError(f"needs {row.ranks} GPUs; this machine has {torch.cuda.device_count()}")
    with tempfile.TemporaryDirectory(prefix="histoseg-ranks-") as folder:
        arguments = row, setting, method, folder
        spawn(_measure_as_rank, arguments, nprocs=row.ranks)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return Figures(**json.loads(Path(folder, FIGURES).read_text()))


def _measure_as_rank(rank: int, row: Row, setting: Setting, method: Settings, folder: str) -> None:
    """What Ray Train does around a training: the device, the group, the variable by which ranks share cores."""
    os.environ["LOCAL_WORLD_SIZE"] = str(row.ranks)
    is_gpu = setting.device == "cuda"
    device = torch.device("cuda", rank) if is_gpu else torch.device("cpu")
    if is_gpu:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("nccl" if is_gpu else "gloo", init_method=meeting, rank=rank, world_size=row.ranks)
    process = Process(place=Place(rank=rank, world_size=row.ranks), device=device)
    figures = measure_steps(row, setting, method, process=process)
    if process.leads:
        Path(folder, FIGURES).write_text(json.dumps(asdict(figures)))
    dist.barrier()  # A rank that leaves while the other still uses the group can end it with an abort.
    dist.destroy_process_group()
    os._exit(0)  # Threads of gloo that are still there when Python ends abort the process.
