"""Models as commands name them: by a folder or an address."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from histoseg.commands.data import CACHE
from histoseg.runs.plain import digest
from histoseg.store.objects import FileStore, connect

if TYPE_CHECKING:
    import torch

    from histoseg.models.weights import Model


def open_model(model: str, copies: Path = CACHE.parent / "models") -> "Model":
    """A model on the device that it is to run on; `model` is a folder or an address, copied below `copies`."""
    from histoseg.models.weights import load_model

    loaded = load_model(_model_folder(model, copies))
    loaded.network.to(choose_device())
    return loaded


def _model_folder(model: str, copies: Path) -> Path:
    """The folder of a model; one in an object store is copied first."""
    if "://" not in model:
        return Path(model)
    store = connect(model)
    if isinstance(store, FileStore):
        return store.root
    folder = FileStore(copies / digest(model))
    for name in ("model.safetensors", "model.json"):
        folder.put(name, store.get(name))
    return folder.root


def device_to_train_on() -> "torch.device":
    """The same for trainings and what they are compared with, on a CPU by one thread unless told otherwise."""
    import torch

    device = choose_device()
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # As all trainings here were tested; with more, see the crash in docs/lab-notes.md.
    return device


def choose_device() -> "torch.device":
    """The GPU if there is one, which then computes in full float32 unless told otherwise."""
    import torch

    from histoseg.training.process import use_precision

    use_precision("fp32")  # A training sets its own; anything else is not rounded to TF32.
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
