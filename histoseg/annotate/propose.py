"""The next round: regions of images that no one has annotated, in the order of a strategy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import get_args

import numpy as np

from histoseg.annotate.candidates import Box, Look, Viewer, candidates
from histoseg.annotate.plan import Plan, PlanModel, PlannedImage, PlannedRegion
from histoseg.annotate.rank import Looks, in_order, take
from histoseg.errors import ConfigError, DataError
from histoseg.inference.segment import find_mask, identify, require_structures
from histoseg.machine import versions
from histoseg.maps.windows import MarginWindows
from histoseg.models.weights import Model
from histoseg.runs.config import Choose
from histoseg.seeds import stream
from histoseg.slides.cohort import slide_name
from histoseg.slides.reader import Slide, open_slide
from histoseg.structures import TISSUE, is_structure, structure
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
        region_mpp: Microns per pixel of the regions; 0 takes that of the model.
        mpp: Microns per pixel of the images; None takes what each says.
        mask: Where their tissue is, as for `segment`.
        done: The regions that earlier rounds have, by name, and the image of each.
    """

    count: int = 20
    structure: str = ""
    strategy: Choose = "difficult"
    seed: int = 0
    size_px: int = SIZE_PX
    region_mpp: float = 0.0
    per_image: int = 0
    mpp: float | None = None
    mask: str = "auto"
    windows: MarginWindows = field(default_factory=MarginWindows)
    done: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.count >= 1 or not self.size_px >= 16 or self.per_image < 0:
            raise ConfigError(
                f"--count {self.count}, --size-px {self.size_px}, --per-image {self.per_image}: must be at least 1, 16"
                " and 0"
            )
        if self.per_image and self.strategy == "representative":
            raise ConfigError(
                "--per-image: leave it out with --strategy representative, whose regions spread by themselves"
            )
        if self.region_mpp and not is_credible_mpp(self.region_mpp):
            raise ConfigError(f"--region-mpp {self.region_mpp:g}: must be {say_credible_mpp()}")


@dataclass(frozen=True)
class _Candidate:
    """A region of an image, and what the model makes of it; None where nothing needs that."""

    image: str
    box: Box
    look: Look | None

    @property
    def name(self) -> str:
        return self.box.name(self.image)


def propose(
    addresses: Sequence[str], model: Model, model_address: str, wish: Wish, on_image: OnImage = lambda *_: None
) -> tuple[Plan, list[PlannedRegion]]:
    """The plan of a round, and all regions by their rank.

    Raises:
        ConfigError: If the model does not find the structure, or does not say where it is unsure.
        DataError: If an image cannot be read, or no region is left.
    """
    name = structure_of(model, wish.structure)
    mpp = wish.region_mpp or model.mpp
    viewer = _viewer(model, name, mpp, wish)
    images: dict[str, PlannedImage] = {}
    found: list[_Candidate] = []
    for address in addresses:
        image = slide_name(address)
        with open_slide(address, wish.mpp) as slide:
            images[image] = PlannedImage(address=address, identity=identify(address), mpp=slide.mpp)
            boxes = _boxes(slide, image, wish, mpp)
            own = [_Candidate(image, box, viewer.look(slide, box) if viewer else None) for box in boxes]
        found += own
        on_image(address, sum(one.name not in wish.done for one in own))
    ranking = _rank(found, wish, len(addresses))
    if not ranking:
        raise DataError(
            f"{len(addresses)} images: no region left to annotate, as they have no tissue or earlier rounds have it "
            "all; add images, or give --mask none"
        )
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
    choices = [name for name in heads if is_structure(name) and name != TISSUE and not name.endswith("_type")]
    if not choices:
        raise ConfigError(f"{model.origin} finds no objects; name a model that does, as a Cerberus of nuclei")
    if not wanted and len(choices) != 1:
        raise ConfigError(f"the model finds {', '.join(choices)}; choose one by --structure")
    require_structures(model, [wanted] if wanted else choices)
    return wanted or choices[0]


def classes_of(model: Model, name: str) -> tuple[str, ...]:
    """The classes of a structure's objects, the background first: those that the model tells apart, or only one."""
    row = structure(name)
    return model.classes.get(row.type_decoder, ("background", row.singular))


def per_image(wish: Wish, num_images: int) -> int:
    """How many regions one image gives at most, as long as others have fewer; 0 means any number."""
    if wish.strategy == "representative":
        return 0
    return wish.per_image or -(-2 * wish.count // num_images)


def _viewer(model: Model, name: str, mpp: float, wish: Wish) -> Viewer | None:
    """What looks at regions; None where chance chooses them."""
    if wish.strategy == "random":
        return None
    with_features = wish.strategy == "representative"
    return Viewer(model=model, structure=name, mpp=mpp, windows=wish.windows, with_features=with_features)


def _boxes(slide: Slide, image: str, wish: Wish, mpp: float) -> list[Box]:
    """The regions of a slide that matter: those that no earlier round has, or all if others may stand for them."""
    boxes = candidates(slide, find_mask(slide, wish.mask), wish.size_px, mpp)
    return [box for box in boxes if wish.strategy == "representative" or box.name(image) not in wish.done]


def _rank(found: Sequence[_Candidate], wish: Wish, num_images: int) -> list[PlannedRegion]:
    """The regions that no earlier round has, in the order in which they are taken."""
    is_done = np.array([one.name in wish.done for one in found], bool)
    order = in_order(_looks(found), is_done, wish.count, stream(wish.seed))
    images = [one.image for one in found]
    taken = set(take(order, images, wish.count, per_image(wish, num_images), wish.done.values()))
    return [
        PlannedRegion(
            name=one.name,
            image=one.image,
            top=one.box.top,
            left=one.box.left,
            height=one.box.height,
            width=one.box.width,
            rank=rank,
            score=None if one.look is None else one.look.difficulty,
            chosen=i in taken,
        )
        for rank, i in enumerate(order, start=1)
        for one in [found[i]]
    ]


def _looks(found: Sequence[_Candidate]) -> Looks | None:
    """What the model makes of all regions; None if it was not asked."""
    each = [one.look for one in found if one.look is not None]
    if not each:
        return None
    features = [look.features for look in each if look.features is not None]
    return Looks(
        difficulties=np.array([look.difficulty for look in each]), features=np.stack(features) if features else None
    )
