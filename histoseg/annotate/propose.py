"""The next round: regions of images that no one has annotated, the most difficult ones for a model first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import get_args

import numpy as np

from histoseg.annotate.candidates import Box, candidates, region_difficulty
from histoseg.annotate.plan import Plan, PlanModel, PlannedImage, PlannedRegion
from histoseg.annotate.rank import ranked, shuffled, take
from histoseg.errors import ConfigError, DataError
from histoseg.inference.segment import find_mask, identify, require_structures
from histoseg.machine import versions
from histoseg.maps.windows import MarginWindows
from histoseg.models.weights import Model
from histoseg.runs.config import Choose
from histoseg.seeds import stream
from histoseg.slides.cohort import slide_name
from histoseg.slides.reader import Slide, open_slide
from histoseg.structures import TISSUE, structure
from histoseg.types import is_credible_mpp, say_credible_mpp

SIZE_PX = 1000  # Cerberus, Sec. 3.4
OnImage = Callable[[str, int], None]  # The address of an image, and how many regions it has


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the next round is to be.

    Attributes:
        structure: What is annotated; empty where the model finds only one.
        per_image: How many regions one image gives at most, as long as others have fewer; those of earlier rounds count
            as well. 0 means twice an equal share, rounded up.
        mpp: Microns per pixel of the regions; 0 takes that of the model.
        image_mpp: Microns per pixel of the images; None takes what each says.
        mask: Where their tissue is, as for `segment`.
        done: The regions that earlier rounds have, by name, and the image of each.
    """

    count: int = 20
    structure: str = ""
    strategy: Choose = "difficult"
    seed: int = 0
    size_px: int = SIZE_PX
    mpp: float = 0.0
    per_image: int = 0
    image_mpp: float | None = None
    mask: str = "auto"
    windows: MarginWindows = field(default_factory=MarginWindows)
    done: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.count >= 1 or not self.size_px >= 16 or self.per_image < 0:
            raise ConfigError(
                f"--count {self.count}, --size-px {self.size_px}, --per-image {self.per_image}: must be at least 1, 16"
                " and 0"
            )
        if self.mpp and not is_credible_mpp(self.mpp):
            raise ConfigError(f"--mpp {self.mpp:g}: must be {say_credible_mpp()}")


def propose(
    addresses: Sequence[str], model: Model, model_address: str, wish: Wish, on_image: OnImage = lambda *_: None
) -> tuple[Plan, list[PlannedRegion]]:
    """The plan of a round, and all regions by their rank.

    Raises:
        ConfigError: If the model does not find the structure, or does not say where it is unsure.
        DataError: If an image cannot be read, or no region is left.
    """
    name = structure_of(model, wish.structure)
    mpp = wish.mpp or model.mpp
    images: dict[str, PlannedImage] = {}
    found: list[tuple[str, Box, float | None]] = []
    for address in addresses:
        image = slide_name(address)
        with open_slide(address, wish.image_mpp) as slide:
            images[image] = PlannedImage(address=address, identity=identify(address), mpp=slide.mpp)
            boxes = _left(slide, image, wish, mpp)
            found += [(image, box, _score(model, slide, box, mpp, name, wish)) for box in boxes]
        on_image(address, len(boxes))
    if not found:
        raise DataError(
            f"{len(addresses)} images: no region left to annotate, as they have no tissue or earlier rounds have it "
            "all; add images, or give --mask none"
        )
    ranking = _rank(found, wish, len(addresses))
    plan = Plan(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        histoseg=versions()["histoseg"],
        model=PlanModel(address=model_address, sha256=model.sha256, origin=model.origin, mpp=model.mpp),
        structure=name,
        classes=classes_of(model, name),
        strategy=wish.strategy,
        seed=wish.seed,
        size_px=wish.size_px,
        mpp=mpp,
        per_image=per_image(wish, len(addresses)),
        candidates=len(ranking),
        images=images,
        regions=tuple(region for region in ranking if region.chosen),
    )
    return plan, ranking


def strategy_of(text: str) -> Choose:
    """The strategy of that name."""
    found = [choice for choice in get_args(Choose) if choice == text]
    if not found:
        raise ConfigError(f"--strategy {text}: choose from {', '.join(get_args(Choose))}")
    strategy: Choose = found[0]
    return strategy


def structure_of(model: Model, wanted: str) -> str:
    """The structure that is annotated."""
    heads = model.spec.heads(model.network).num_classes
    choices = [name for name in heads if name != TISSUE and not name.endswith("_type")]
    if not wanted and len(choices) != 1:
        raise ConfigError(f"the model finds {', '.join(choices)}; choose one by --structure")
    require_structures(model, [wanted] if wanted else choices)
    return wanted or choices[0]


def classes_of(model: Model, name: str) -> tuple[str, ...]:
    """The classes of a structure's objects, the background first: those that the model tells apart, or only one."""
    row = structure(name)
    return model.classes.get(row.type_decoder, ("background", row.singular))


def per_image(wish: Wish, num_images: int) -> int:
    """How many regions one image gives at most, as long as others have fewer."""
    return wish.per_image or -(-2 * wish.count // num_images)


def _left(slide: Slide, image: str, wish: Wish, mpp: float) -> list[Box]:
    """The regions of a slide that no earlier round has."""
    boxes = candidates(slide, find_mask(slide, wish.mask), wish.size_px, mpp)
    return [box for box in boxes if box.name(image) not in wish.done]


def _score(model: Model, slide: Slide, box: Box, mpp: float, name: str, wish: Wish) -> float | None:
    return region_difficulty(model, slide, box, mpp, name, wish.windows) if wish.strategy == "difficult" else None


def _rank(found: Sequence[tuple[str, Box, float | None]], wish: Wish, num_images: int) -> list[PlannedRegion]:
    scores = np.array([np.nan if score is None else score for _, _, score in found])
    order = ranked(scores.tolist()) if wish.strategy == "difficult" else shuffled(len(found), stream(wish.seed))
    most, earlier = per_image(wish, num_images), wish.done.values()
    taken = set(take(order, [image for image, _, _ in found], wish.count, most, earlier))
    return [
        PlannedRegion(
            name=box.name(image),
            image=image,
            top=box.top,
            left=box.left,
            height=box.height,
            width=box.width,
            rank=rank,
            score=score,
            chosen=i in taken,
        )
        for rank, i in enumerate(order, start=1)
        for image, box, score in [found[i]]
    ]
