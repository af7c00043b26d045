"""Drawn nuclei: ellipses on a jittered grid, some of which touch or overlap."""

import cv2
import numpy as np


def draw_nuclei(seed: int, side_px: int, num_rows: int) -> np.ndarray:
    """An instance map of `num_rows`² nuclei."""
    rng, drawn, spacing = np.random.default_rng(seed), np.zeros((side_px, side_px), np.int32), side_px / num_rows
    for i in range(num_rows**2):
        centre = spacing * (np.array([i % num_rows, i // num_rows]) + 0.5) + rng.normal(0, 0.05 * spacing, 2)
        axes, angle = spacing * rng.uniform(0.35, 0.55, 2), float(rng.uniform(0, 180))
        cv2.ellipse(drawn, tuple(map(int, centre)), tuple(map(int, axes)), angle, 0, 360, i + 1, -1)
    return drawn
