"""docs/features.md, and the same for programs: made of the definitions, so it cannot say anything else.

python -m histoseg.features.document > docs/features.md
"""

import json
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from histoseg.features.definition import Feature
from histoseg.features.measure import FEATURES, GROUPS
from histoseg.features.names import BACKGROUND, EPITHELIAL, LYMPHOCYTE, STROMA, TUMOUR

HEAD = """\
# Features

What `histoseg summarise` writes. This page is made of the definitions in `histoseg/features/`:
`python -m histoseg.features.document > docs/features.md`.

| file | what it holds |
|---|---|
| `slides.parquet`, `slides.csv` | one row for each slide, with all features of the slide and of each class of tissue |
| `<slide>/glands.parquet`, `glands.csv` | one row for each gland |
| `missing.csv` | why a value is null, or why columns are absent: slide, column, reason |
| `index.html` | the cohort on one page |
| `<slide>/features.json` | the record of a slide that is done; with it, an unchanged slide is not computed again |

## Columns

- A unit is part of the name: `_um` (µm), `_um2` (µm²), `_mm2` (mm²), `_per_mm2` (1/mm²), `_px` (pixels of the slide).
  Columns without one are plain numbers. Shares and fractions are of 1, not percent.
- `{structure}` is `gland`, `lumen`, `nuclei` or whatever else the model finds; `{class}` and `{other}` are classes of
  its objects. In columns, classes are written with lower-case letters, digits and `_`; `all` stands for all objects.
- Features of a class of tissue end in `_in_` and the class, as `nuclei_lymphocyte_density_per_mm2_in_stroma`. An object
  lies in the square of tissue that holds its centroid. Objects in squares of background count for no slide.
- Where something cannot be known, the value is null or the column is absent, never 0; `missing.csv` says why, for
  slides (single glands have nulls where they have too few nuclei, or no lumen). A 0 is counted: there was tissue, and
  nothing in it.
- All lengths are measured on objects as they were found, cut by nothing but the border of the slide.

## Which classes are meant

Names are compared by letters and digits, ignoring case. A class with any other name has the features that each class
has; features that need a class which the model does not know are absent, and `missing.csv` names the class.

| word below | classes |
|---|---|
"""
ROLES = {
    "epithelial": EPITHELIAL,
    "lymphocyte": LYMPHOCYTE,
    "abnormal epithelium (tissue)": TUMOUR,
    "stroma (tissue)": STROMA,
    "background (tissue)": BACKGROUND,
}
TITLES = {"gland": "each gland", "slide": "each slide", "slide and tissue class": "each slide and class of tissue"}


def to_markdown() -> str:
    """The page of all definitions."""
    roles = "".join(f"| {word} | {', '.join(names)} |\n" for word, names in ROLES.items())
    return HEAD + roles + "".join(map(_section, GROUPS))


def _section(group: ModuleType) -> str:
    first, _, rest = (group.__doc__ or "").partition("\n")
    intro = "".join(f"\n{line}" if line else "\n" for line in rest.strip().splitlines())
    return "\n".join([f"\n## {first.rstrip('.')}", *([intro] if intro else []), "", *_table(group.FEATURES), ""])


def _table(features: Sequence[Feature]) -> Iterator[str]:
    yield "| column | unit | of | what it is |"
    yield "|---|---|---|---|"
    for feature in features:
        source = f" ({feature.source}.)" if feature.source else ""
        yield f"| `{feature.name}` | {feature.unit} | {TITLES[feature.level]} | {feature.meaning}{source} |"


def definitions_json() -> str:
    """Name, unit and meaning of each feature, as tables carry them along."""
    listed = [{"name": each.name, "unit": each.unit, "meaning": each.meaning, "level": each.level} for each in FEATURES]
    return json.dumps(listed, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
