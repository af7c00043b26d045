"""Which colour each class is drawn in, in every picture and every exported file."""

from collections.abc import Mapping, Sequence

from histoseg.maps.colours import BLACK, CLASS_COLOURS, WHITE
from histoseg.structures import structures

Kind = tuple[str, str]  # A structure and a class of its objects; the class is empty without classes.

# Okabe & Ito's eight, those first that stand out most from the pink and purple of H&E.
OBJECT_COLOURS = (*(CLASS_COLOURS[i] for i in (2, 3, 1, 0, 5)), BLACK, *(CLASS_COLOURS[i] for i in (4, 6)))
NO_CLASS_COLOUR = "#8a8f96"
TISSUE_COLOURS = (*CLASS_COLOURS, BLACK)  # Of the classes after background, which is not painted


def colours_of(classes: Mapping[str, Sequence[str]]) -> dict[Kind, str]:
    """A colour for each class of object that there can be, detections first; after the eighth they repeat.

    Objects of a structure that states a colour have that one as long as they have no class.

    Args:
        classes: Of the objects of each structure, without background; empty if they have none.
    """
    rows = [row for row in structures().values() if row.name in classes]
    rows.sort(key=lambda row: row.object_type != "detection")
    stated = {(row.name, ""): row.colour for row in rows if row.colour}
    kinds = [(row.name, name) for row in rows for name in classes[row.name] or ("",)]
    free = [colour for colour in OBJECT_COLOURS if colour not in stated.values()] or list(OBJECT_COLOURS)
    chosen = {kind: free[i % len(free)] for i, kind in enumerate(kind for kind in kinds if kind not in stated)}
    return {**{(row.name, ""): NO_CLASS_COLOUR for row in rows}, **chosen, **stated}


def class_colour(kind: int) -> str | None:
    """The colour of a class of tissue or of pixels; None for the first, background."""
    return TISSUE_COLOURS[(kind - 1) % len(TISSUE_COLOURS)] if kind else None


def map_colours(count: int) -> list[str]:
    """A colour for each class of a map; that of the first, background, is white."""
    return [class_colour(kind) or WHITE for kind in range(count)]
