"""A small round on two drawn images, with a model that needs no training."""

import json
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from histoseg.annotate.export import export_round
from histoseg.annotate.plan import write_plan
from histoseg.annotate.propose import Wish, propose
from histoseg.demo import drawing
from histoseg.types import Image
from tests.slides.blobs import draw_model

MPP = 0.5


def draw_image(seed: int, spacing_px: float = 24.0) -> Image:
    """Nuclei in stroma, 200 x 300 pixels."""
    rng = np.random.default_rng(seed)
    canvas = drawing.draw_stroma((200, 300), rng)
    spots = drawing.scatter(np.ones(canvas.size, bool), spacing_px, rng)
    drawing.add_nuclei(canvas, spots, drawing.Cell(radius_px=5.0, dark=1.4), rng)
    return drawing.render(canvas, drawing.draw_stain(rng), rng)


def draw_images(folder: Path) -> list[str]:
    """Two images, the second with more nuclei."""
    folder.mkdir(parents=True)
    for name, seed, spacing_px in (("sparse", 0, 40.0), ("dense", 1, 22.0)):
        PillowImage.fromarray(draw_image(seed, spacing_px)).save(folder / f"{name}.png")
    return [str(folder / "sparse.png"), str(folder / "dense.png")]


def make_round(folder: Path, addresses: list[str], **wish):
    """A round that is exported."""
    wanted = Wish(**{"count": 3, "structure": "nuclei", "size_px": 100, "mpp": MPP, "per_image": 2, **wish})
    plan, ranking = propose(addresses, draw_model(), "blobs", wanted)
    write_plan(folder, plan, ranking, "")
    export_round(folder, plan, draw_model())
    return plan


def features(path: Path) -> list[dict]:
    return json.loads(path.read_text())["features"]


def write_features(path: Path, found: list[dict]) -> Path:
    """As QuPath writes them: a collection without any other member."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": found}))
    return path


def box(left: float, top: float, side: float, name: str = "", identity: str = "") -> dict:
    """A square."""
    right, bottom = left + side, top + side
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {
        "type": "Feature",
        "id": identity or f"box {left} {top}",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", **({"classification": {"name": name}} if name else {})},
    }
