"""Many small annotated histology data sets as one sharded meta-dataset, and meta-learning on it.

`connect`, `MetaDataset`, `load_model`, `open_slide` and `segment` are imported when they are first used: the command
line and the small install do without most of what they need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histoseg.inference.array import segment
    from histoseg.models.weights import load_model
    from histoseg.shards.reader import MetaDataset
    from histoseg.slides.reader import open_slide
    from histoseg.store.objects import connect

__version__ = "0.1.0"
__all__ = ["MetaDataset", "__version__", "connect", "load_model", "open_slide", "segment"]

_MODULES = {
    "MetaDataset": "histoseg.shards.reader",
    "connect": "histoseg.store.objects",
    "load_model": "histoseg.models.weights",
    "open_slide": "histoseg.slides.reader",
    "segment": "histoseg.inference.array",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'histoseg' has no attribute {name!r}; choose from {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
