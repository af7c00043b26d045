"""Which classes are meant by a feature, and what they are called in columns.

Names are compared by their letters and digits, ignoring case. A class that plays none of the parts below has the
features that every class has: counts, densities, sizes, distances.
"""

import re
from collections.abc import Sequence

from histoseg.files.folders import plain

# Nuclei. Lizard and the Cerberus model say epithelial and lymphocyte; the others are names of public data sets.
EPITHELIAL = (
    "epithelial",
    "epithelium",
    "neoplastic",
    "neoplastic epithelial",
    "non-neoplastic epithelial",
    "malignant epithelial",
    "normal epithelial",
)
LYMPHOCYTE = ("lymphocyte", "lymphocytes")
# Tissue, first as `histoseg.structures.TISSUE_CLASSES` has them.
TUMOUR = ("abnormal epithelium", "tumour", "tumor", "tumour epithelium", "tumor epithelium")
STROMA = ("stroma",)
BACKGROUND = ("background",)
ALL = "all"  # In columns: objects of all classes, and those without one


def find_classes(classes: Sequence[str], names: Sequence[str]) -> list[int]:
    """The positions of the classes that have one of these names."""
    known = {plain(name) for name in names}
    return [i for i, name in enumerate(classes) if plain(name) in known]


def column_words(classes: Sequence[str]) -> list[str]:
    """What each class is called in columns: lower-case letters, digits and `_`, each different and none `all`."""
    found: list[str] = []
    for name in classes:
        word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "class"
        taken = {ALL, *found}
        number = 2
        chosen = word
        while chosen in taken:
            chosen, number = f"{word}_{number}", number + 1
        found.append(chosen)
    return found
