"""How near a new task is to those that a network was trained on, measured before anything is trained on the new one.

Nothing is predicted and no weight changes. Three measures of as many training patches of the new task as of its
predecessors (`histoseg.metrics.affinity` has the arithmetic):

- `gradient_alignment`: cosine of the loss's gradients by the shared weights, of the new task and of the predecessors
  (Du et al. 2018). The predecessors have their trained heads. The new task's head is that of its class means (Snell et
  al. 2017, Eq. 8): a head of random numbers would give the gradient a random sign.
- `feature_distance`: Fréchet distance of patches' pooled features of the encoder (Heusel et al. 2017).
- `logme`: evidence that the new task's labels are linear in the features of pixels that heads see (You et al. 2021).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError
from histoseg.methods.transfer import Transfer
from histoseg.metrics.affinity import gradient_alignment, logme, scaled_frechet_distance
from histoseg.runs.config import Run, Select, require
from histoseg.shards.reader import MetaDataset
from histoseg.types import Batch

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.scoring._pictures import Pictures
    from histoseg.scoring._protocol import Scores
    from histoseg.training.process import Process


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """Measures between the sources that are scored and those that the network was trained on.

    Attributes:
        patches: How many of either side, over all ranks.
        pixels: How many labelled pixels of each patch LogME sees.
    """

    patches: int = 64
    pixels: int = 64

    def __post_init__(self) -> None:
        require(self.patches >= 2, "evaluator.patches", self.patches, "2 or more")
        require(self.pixels >= 1, "evaluator.pixels", self.pixels, "1 or more")

    def validate(self, network: "Network", run: Run, dataset: MetaDataset, select: Select, process: "Process") -> float:  # noqa: ARG002  # every evaluator's
        """Refused: no epoch can be chosen by how near another task is."""
        raise ConfigError("evaluator affinity scores no predictions; choose keep = 'last'")

    def score(
        self,
        network: "Network",
        run: Run,
        dataset: MetaDataset,
        process: "Process",
        pictures: "Pictures",  # noqa: ARG002  # every evaluator's
    ) -> "Scores":
        """The three measures; each rank computes on its share of the patches, and every rank gets all."""
        from histoseg.models.network import require_kind
        from histoseg.models.unet.network import UNet
        from histoseg.scoring import _affinity
        from histoseg.scoring._protocol import Scores

        unet = require_kind(network, UNet)
        require(len(run.score.sources) == 1, "score.sources", run.score.sources, "one new task")
        before = tuple(dict.fromkeys(source for stage in run.stages for source in stage.select.sources))
        (new,) = run.score.sources
        ours = self._batch(run.score, run, dataset, process)
        theirs = self._batch(Select(sources=before), run, dataset, process)
        pooled = [_affinity.pooled_of_all(unet, batch, process) for batch in (ours, theirs)]
        features, labels = _affinity.pixels_of_all(unet, ours, self.pixels, run.seed, process)
        headed = _affinity.with_class_means(unet, new, dataset.sources[new].task.num_classes, ours)
        gradients = [_affinity.shared_gradient(*pair) for pair in ((headed, ours), (unet, theirs))]
        measures = {
            "gradient_alignment": gradient_alignment(*gradients),
            "feature_distance": scaled_frechet_distance(*pooled),
            "logme": logme(features, labels),
        }
        return Scores(
            scores={},
            headline=", ".join(f"{name} {value:.3f}" for name, value in measures.items()),
            measures=measures,
            sizes={"patches": self.patches, "pixels": len(labels)},
        )

    def _batch(self, select: Select, run: Run, dataset: MetaDataset, process: "Process") -> Batch:
        """This rank's share of the patches: the first step of a training on that selection."""
        method, part = Transfer(batch=self.patches), dataset.select(select, run.seed)
        return next(method.batches(part, run, seed=run.seed, place=process.place, first_step=0))


EVALUATOR = Affinity
