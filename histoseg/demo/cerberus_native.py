"""Made-up data of a lab, in the layout that `histoseg/sources/_cerberus_native.py` describes."""

from pathlib import Path

import numpy as np

from histoseg.demo import files, mucosa
from histoseg.sources._cerberus_native import FOLDER, MPP, TABLE

NUM_IMAGES, NUM_IN_FOLDS = 11, 9  # Three in each fold, and two external ones.


def write_structure(root: Path, structure: str, rng: np.random.Generator) -> None:
    """Write images of one structure and their table; each image is of a patient of its own."""
    folder = root / "Laboratory" / FOLDER / structure
    rows = ["Filename,Split,Patient,MPP"]
    for i in range(NUM_IMAGES):
        name = f"{structure}_{i + 1:02}"
        drawn = mucosa.draw_mucosa(rng, has_surface=i % 3 == 2, malignant=i % 2 == 1)
        objects = {"gland": drawn.glands, "lumen": drawn.lumina, "nuclei": drawn.nuclei}[structure]
        files.write_image(folder / "Images" / f"{name}.png", drawn.image)
        files.write_objects(folder / "Labels" / f"{name}.mat", objects.instance_map, objects.semantic_map, rng)
        fold = i // 3 + 1 if i < NUM_IN_FOLDS else "external"
        rows.append(f"{name},{fold},case{i + 1},{'' if i % 2 else MPP}")
    (folder / TABLE).write_text("\n".join(rows) + "\n", encoding="utf-8")
