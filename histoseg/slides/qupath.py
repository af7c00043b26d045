"""What QuPath reads of an object beside its outline: an identity, a type, a class with a colour, measurements."""

import re
import uuid

from histoseg.maps.colours import to_rgb
from histoseg.structures import structure

# In the name of a class of QuPath's, ":" derives it from another one, and spaces at the ends are lost (PathClass.java).
NO_CLASS_NAME = re.compile(r"[:\x00-\x1f]+")
UUIDS = uuid.uuid5(uuid.NAMESPACE_OID, "histoseg")


def feature_id(name: str, structure: str, number: int) -> str:
    """An identity of an object, the same whenever it is exported."""
    return str(uuid.uuid5(UUIDS, f"{name}/{structure}/{number}"))


def feature_properties(
    name: str, class_name: str, colour: str, area_um2: float, class_probability: float | None
) -> dict[str, object]:
    """An object of the structure of that name as QuPath imports it: a detection or an annotation, as that states."""
    row = structure(name)
    measurements = {"Area µm^2": round(area_um2, 3)}
    if class_probability is not None:
        measurements["Class probability"] = round(class_probability, 4)
    return {
        "objectType": row.object_type,
        "classification": {"name": qupath_name(class_name) or row.singular, "color": list(to_rgb(colour))},
        "measurements": measurements,
    }


def qupath_name(class_name: str) -> str:
    """The name with spaces for what QuPath does not take as part of a name; `read_geojson` does not tell them apart."""
    return " ".join(NO_CLASS_NAME.sub(" ", class_name).split())
