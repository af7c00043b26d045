"""The numbers of Cerberus' Tables 2 to 5, to print beside ours: mean and standard deviation over three folds.

Graham et al.: One model is all you need: multi-task learning enables simultaneous histology image segmentation and
classification, Medical Image Analysis 83 (2023). Columns are named as ours are: split, structure, score.
"""

CITATION = "Graham et al.: One model is all you need (Cerberus), 2023"

Published = tuple[float, float]  # Mean and standard deviation

_TABLE2_COLUMNS = (
    *("test.nuclei.pq", "test.nuclei.mpq", "test.nuclei.mpq_plus"),
    *("external.nuclei.pq", "external.nuclei.mpq", "external.nuclei.mpq_plus"),
)
_TABLE2 = {
    "unet": "0.564 0.020  0.275 0.014  0.324 0.018  0.493 0.051  0.235 0.018  0.258 0.034",
    "hovernet": "0.583 0.014  0.295 0.018  0.409 0.027  0.514 0.026  0.285 0.018  0.335 0.017",
    "cerberus": "0.588 0.008  0.323 0.020  0.396 0.022  0.560 0.028  0.308 0.015  0.353 0.009",
    "cerberus_plus": "0.612 0.010  0.358 0.011  0.425 0.019  0.568 0.009  0.332 0.011  0.388 0.003",
}
_TABLE3_COLUMNS = ("test.gland.pq", "external.gland.pq", "test.lumen.pq", "external.lumen.pq")
_TABLE3 = {
    "unet": "0.622 0.030  0.459 0.024  0.501 0.008  0.240 0.109",
    "mildnet": "0.647 0.046  0.526 0.027  0.522 0.034  0.353 0.088",
    "rotanet": "0.662 0.048  0.573 0.034  0.569 0.042  0.436 0.054",
    "cerberus": "0.677 0.028  0.640 0.012  0.589 0.006  0.525 0.027",
    "cerberus_plus": "0.674 0.021  0.650 0.004  0.590 0.018  0.530 0.005",
}
_TABLE4_COLUMNS = tuple(
    f"{split}.{structure}.{score}"
    for split in ("test", "external")
    for structure in ("nuclei", "gland", "lumen")
    for score in ("dice", "pq")
)
_TABLE4 = {  # Table 4 (a), then (b)
    "unet_stl": (
        "0.767 0.013  0.566 0.021  0.891 0.013  0.622 0.030  0.659 0.014  0.501 0.008  "
        "0.713 0.067  0.499 0.058  0.741 0.012  0.459 0.024  0.281 0.089  0.240 0.109"
    ),
    "unet_fixed": (
        "0.759 0.004  0.560 0.006  0.894 0.006  0.636 0.025  0.688 0.017  0.536 0.022  "
        "0.708 0.061  0.486 0.058  0.770 0.100  0.471 0.077  0.420 0.051  0.376 0.063"
    ),
    "unet_mixed": (
        "0.762 0.007  0.558 0.011  0.897 0.011  0.628 0.015  0.697 0.003  0.543 0.011  "
        "0.738 0.017  0.505 0.017  0.824 0.061  0.492 0.039  0.446 0.063  0.377 0.059"
    ),
    "stl": (
        "0.772 0.002  0.581 0.006  0.902 0.007  0.669 0.014  0.666 0.060  0.508 0.091  "
        "0.758 0.021  0.554 0.030  0.820 0.104  0.566 0.082  0.388 0.016  0.313 0.041"
    ),
    "fixed": (
        "0.769 0.007  0.572 0.009  0.903 0.001  0.677 0.022  0.726 0.015  0.585 0.013  "
        "0.739 0.032  0.527 0.042  0.864 0.031  0.602 0.020  0.594 0.046  0.470 0.010"
    ),
    "mixed": (
        "0.770 0.003  0.574 0.005  0.905 0.005  0.674 0.016  0.721 0.018  0.590 0.014  "
        "0.742 0.027  0.531 0.038  0.881 0.013  0.617 0.004  0.622 0.053  0.492 0.013"
    ),
    "in_mixed": (
        "0.779 0.004  0.588 0.009  0.907 0.002  0.683 0.013  0.733 0.019  0.592 0.019  "
        "0.773 0.031  0.560 0.037  0.875 0.072  0.619 0.064  0.637 0.057  0.516 0.056"
    ),
    "in_mixed_pc": (
        "0.778 0.006  0.589 0.008  0.909 0.008  0.677 0.028  0.735 0.007  0.589 0.006  "
        "0.774 0.024  0.560 0.028  0.908 0.010  0.640 0.012  0.666 0.014  0.525 0.027"
    ),
}
_TABLE5_COLUMNS = ("test.tissue.map", "test.tissue.mf1")
_TABLE5 = {"in_stl": "0.949 0.002  0.885 0.001", "in_mixed_pc": "0.948 0.006  0.883 0.007"}

_TABLE7_COLUMNS = ("test.nuclei.map", "test.nuclei.mf1", "external.nuclei.map", "external.nuclei.mf1")
_TABLE7 = {
    "pixel_a_ce": "0.493 0.021  0.477 0.013  0.447 0.025  0.432 0.012",
    "pixel_a_ce_dice": "0.537 0.017  0.545 0.015  0.494 0.030  0.497 0.012",
    "pixel_a": "0.576 0.012  0.566 0.008  0.529 0.032  0.509 0.020",
    "pixel_b": "0.678 0.035  0.710 0.030  0.634 0.013  0.669 0.003",
}


def _parse(columns: tuple[str, ...], rows: dict[str, str]) -> dict[tuple[str, str], Published]:
    """By row and column."""
    found: dict[tuple[str, str], Published] = {}
    for row, text in rows.items():
        values = [float(word) for word in text.split()]
        pairs = zip(values[::2], values[1::2], strict=True)
        found |= {(row, column): pair for column, pair in zip(columns, pairs, strict=True)}
    return found


TABLE2 = _parse(_TABLE2_COLUMNS, _TABLE2)
TABLE3 = _parse(_TABLE3_COLUMNS, _TABLE3)
TABLE4 = _parse(_TABLE4_COLUMNS, _TABLE4)
TABLE5 = _parse(_TABLE5_COLUMNS, _TABLE5)
TABLE7 = _parse(_TABLE7_COLUMNS, _TABLE7)
