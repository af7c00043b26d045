"""Made-up CRAG: glands of the colon, healthy and malignant."""

from pathlib import Path

import numpy as np

from histoseg.demo import files, mucosa


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up training and three validation images in the published layout."""
    for i in range(12):
        part, name = ("train", f"train_{i + 1}") if i < 9 else ("valid", f"test_{i - 8}")
        drawn = mucosa.draw_mucosa(rng, malignant=i % 2 == 1)
        folder = root / "CRAG" / part
        files.write_image(folder / "Images" / f"{name}.png", drawn.image)
        files.write_image(folder / "Annotation" / f"{name}.png", drawn.glands.instance_map.astype(np.uint8))
