"""RetinaNet (Lin et al. 2017) on an encoder of Cerberus: its settings. Data is prepared without torch.

`network.py` is the network itself, `loss.py` what it learns, `detect.py` shows it whole images.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.engines import Execution
from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import MarginWindows, Windows
from histoseg.models.cerberus import CerberusSpec, Encoder
from histoseg.models.prediction import Prediction
from histoseg.store.objects import Store
from histoseg.types import Image, Task

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.network import Network
    from histoseg.models.prediction import Detections
    from histoseg.models.retinanet.network import RetinaNet, RetinaNetParts
    from histoseg.models.spec import Heads, RegionPredictor


@dataclass(frozen=True, kw_only=True)
class RetinaNetSpec:
    """Settings of the encoder, as those of Cerberus; `weights` has no effect after a stage that gives an encoder."""

    encoder: Encoder = "resnet34"
    width: int = 64
    weights: str = ""

    def __post_init__(self) -> None:
        CerberusSpec(encoder=self.encoder, width=self.width, weights=self.weights)  # Refuses what it would refuse.

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "RetinaNet":  # noqa: ARG002  # every network's
        """A new network for the one task whose objects have boxes."""
        from histoseg.models.retinanet.network import build

        return build(self._parts({name: _require_boxes(task).num_classes for name, task in tasks.items()}), seed)

    def extend(self, network: "Network", tasks: Mapping[str, Task], seed: int) -> "RetinaNet":
        """A new network with the encoder of another one, and its pyramid and head if it is a RetinaNet of that task."""
        from histoseg.models.retinanet.begin import begin_with

        return begin_with(network, self.build(tasks, seed, 0))

    def heads(self, network: "Network") -> "Heads":
        """How many classes of objects are found, with background, by the name of the task."""
        from histoseg.models.network import require_kind
        from histoseg.models.retinanet.network import RetinaNet
        from histoseg.models.spec import Heads

        parts = require_kind(network, RetinaNet).parts
        return Heads(num_classes={parts.task: parts.num_classes + 1})

    def rebuild(self, heads: "Heads") -> "RetinaNet":
        from histoseg.models.retinanet.network import build

        return build(self._parts(heads.num_classes), 0)

    def _parts(self, num_classes: Mapping[str, int]) -> "RetinaNetParts":
        from histoseg.models.retinanet.network import RetinaNetParts

        if len(num_classes) != 1:
            raise DataError(f"{', '.join(num_classes) or 'no source'}: a RetinaNet finds the objects of one source")
        ((task, count),) = num_classes.items()
        return RetinaNetParts(task=task, encoder=self.encoder, width=self.width, num_classes=count - 1)

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":
        return CerberusSpec(encoder=self.encoder, width=self.width, weights=self.weights).starting_weights(store)

    def predict(
        self,
        network: "RetinaNet",
        image: Image,
        windows: Windows,
        *,
        heads: Collection[str] = (),  # noqa: ARG002  # every network's
        mpp: float = 0.0,  # noqa: ARG002  # every network's
    ) -> Prediction:
        """The boxes of the network's one task, see `histoseg.models.retinanet.detect`."""
        return Prediction(boxes={network.parts.task: self.detect(network, image, windows)})

    def detect(self, network: "RetinaNet", image: Image, windows: Windows) -> "Detections":
        """The boxes that are found in a whole image."""
        from histoseg.models.retinanet.detect import detect

        if not isinstance(windows, MarginWindows):
            raise ConfigError(f"windows = {windows}: must have a margin for RetinaNet, as MarginWindows(margin_px=64)")
        return detect(network, image, windows)

    def regions(
        self,
        network: "RetinaNet",
        *,
        heads: Collection[str] = (),  # noqa: ARG002  # every network's
        mpp: float = 0.0,  # noqa: ARG002  # every network's
        execution: Execution | None = None,  # noqa: ARG002  # every network's
    ) -> "RegionPredictor":
        """Refused: boxes are no outlines, which objects of slides have.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"this model finds boxes around {network.parts.task}, not outlines, so it segments nothing; "
            "name a model of Cerberus or a U-Net"
        )


def _require_boxes(task: Task) -> Task:
    if task.kind != "boxes":
        raise DataError(f"{task.name} is of kind {task.kind!r}; a RetinaNet learns from sources of kind 'boxes'")
    return task


SPEC = RetinaNetSpec
