"""The numbers of MetaHistoSeg's Table 1, to print beside ours (Yuan, Esteva & Xu 2022, MetaHistoSeg, Table 1).

The paper defines mIoU over all images (Eq. 1), but its published code averages per image and counts classes absent
from an image as 0, on one crop per image. Compare these numbers with `miou_reference`, not with `miou_pooled`.
"""

CITATION = "Yuan, Esteva and Xu: MetaHistoSeg (2022), Table 1"

# (new task, predecessors) -> (MAML, TransferL), in the paper's order.
_PAIRS: dict[tuple[str, str], tuple[float, float]] = {
    ("breastpathq", "all_others"): (0.301, 0.282),
    ("breastpathq", "monuseg"): (0.302, 0.287),
    ("breastpathq", "glas"): (0.326, 0.300),
    ("breastpathq", "digestpath"): (0.285, 0.299),
    ("monuseg", "all_others"): (0.669, 0.676),
    ("monuseg", "breastpathq"): (0.682, 0.636),
    ("monuseg", "glas"): (0.691, 0.694),
    ("monuseg", "digestpath"): (0.639, 0.653),
    ("glas", "all_others"): (0.557, 0.556),
    ("glas", "breastpathq"): (0.540, 0.539),
    ("glas", "monuseg"): (0.563, 0.573),
    ("glas", "digestpath"): (0.535, 0.553),
    ("digestpath", "all_others"): (0.632, 0.628),
    ("digestpath", "breastpathq"): (0.609, 0.613),
    ("digestpath", "monuseg"): (0.607, 0.599),
    ("digestpath", "glas"): (0.624, 0.617),
}

# By row and column of our table; no spread was published.
MIOU: dict[tuple[str, str], tuple[float, None]] = {
    (new_task, f"{column}.{method}"): (value, None)
    for (new_task, column), pair in _PAIRS.items()
    for method, value in zip(("maml", "transfer"), pair, strict=True)
}
