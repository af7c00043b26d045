"""Made-up Lizard: mucosa of the colon with nuclei of six kinds."""

from pathlib import Path

import numpy as np

from histoseg.demo import files, mucosa


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up images in three folds and two external ones in the published layout."""
    names = ("consep_1", "consep_2", "crag_1", "crag_2", "dpath_1", "dpath_2", "glas_1", "glas_2", "pannuke_1")
    rows = ["Filename,Source,Split"]
    for i, name in enumerate((*names, "tcga_1", "tcga_2")):
        drawn = mucosa.draw_mucosa(rng, has_surface=i % 4 == 3, malignant=i % 2 == 1)
        archive = "Lizard_Images1" if name.startswith("c") else "Lizard_Images2"
        files.write_image(root / "Lizard" / archive / f"{name}.png", drawn.image)
        path = root / "Lizard" / "Lizard_Labels" / "Labels" / f"{name}.mat"
        files.write_objects(path, drawn.nuclei.instance_map, drawn.nuclei.semantic_map, rng)
        rows.append(f"{name},{name.partition('_')[0]},{i % 3 + 1}")
    (root / "Lizard" / "Lizard_Labels" / "info.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
