"""Made-up data of a lab for Cerberus: nuclei."""

from pathlib import Path

import numpy as np

from histoseg.demo.cerberus_native import write_structure


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write nine images in three folds and two external ones, all made up."""
    write_structure(root, "nuclei", rng)
