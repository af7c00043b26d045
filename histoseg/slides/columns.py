"""Objects as rows of CSV."""

from typing import Protocol, runtime_checkable

COLUMNS = (
    "structure", "id", "class", "class_probability", "area_um2",
    "centroid_x_px", "centroid_y_px", "left_px", "top_px", "right_px", "bottom_px",
)  # fmt: skip


@runtime_checkable
class Tabulated(Protocol):
    """What a row says of an object; class and probability are empty and None without a class."""

    @property
    def structure(self) -> str: ...
    @property
    def id(self) -> int: ...
    @property
    def class_name(self) -> str: ...
    @property
    def class_probability(self) -> float | None: ...
    @property
    def area_um2(self) -> float: ...
    @property
    def centroid(self) -> tuple[float, float]: ...
    @property
    def box(self) -> tuple[float, float, float, float]: ...


def to_cells(found: Tabulated) -> list[object]:
    """The cells of an object's row, in the order of COLUMNS."""
    share = "" if found.class_probability is None else f"{found.class_probability:.4f}"
    place = (f"{value:.2f}" for value in (*found.centroid, *found.box))
    return [found.structure, found.id, found.class_name, share, f"{found.area_um2:.3f}", *place]
