"""A SpatialData store (Zarr): shapes of each structure, and a table of all objects that annotates them (scverse)."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histoseg.errors import ConfigError
from histoseg.exports._slide import SlideObjects
from histoseg.runs.extras import why_lacking

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame

NAME = "objects.zarr"
TABLE = "objects"


def write(path: Path, slide: SlideObjects) -> int:
    """Write all objects in base pixels, the coordinate system "global"; they are all in memory, about 3 kB for each.

    Raises:
        ConfigError: If the package spatialdata is not installed.
    """
    if why := why_lacking("spatialdata"):
        raise ConfigError(why)
    import spatialdata

    frames = {name: _frame(slide, name) for name in slide.structures}
    shapes = {name: spatialdata.models.ShapesModel.parse(frame[["geometry"]]) for name, frame in frames.items()}
    tables = {TABLE: _table(frames, slide)} if frames else {}
    attrs = {"slide": slide.summary.name, "mpp": slide.summary.mpp, "caveats": slide.summary.caveats}
    spatialdata.SpatialData(shapes=shapes, tables=tables, attrs={"histoseg": attrs}).write(path)
    return sum(map(len, frames.values()))


def _frame(slide: SlideObjects, name: str) -> "GeoDataFrame":
    """A GeoDataFrame of the objects of a structure, by id."""
    import geopandas
    import shapely

    table = slide.objects.read(structures=[name])
    outlines = shapely.from_wkb(np.array(table["geometry"].to_pylist(), object))
    columns = table.drop_columns(["bbox", "geometry"]).to_pandas()
    return geopandas.GeoDataFrame(columns, geometry=outlines).set_index("id")


def _table(frames: "dict[str, GeoDataFrame]", slide: SlideObjects) -> "AnnData":
    """An AnnData with the measurements of all objects, each with the shapes and the id that it is of."""
    import anndata
    import pandas
    from spatialdata.models import TableModel

    together = pandas.concat(list(frames.values()))
    together["region"] = pandas.Categorical(together["structure"].astype(str))
    together["instance_id"] = together.index.to_numpy()
    together.index = together.index.astype(str)
    obs = together[["region", "instance_id", "class", "class_probability"]].copy()
    obs["class"] = pandas.Categorical(obs["class"].astype(object))
    found = anndata.AnnData(
        X=together[["area_um2"]].to_numpy(np.float32),
        obs=obs,
        var=pandas.DataFrame(index=["area_um2"]),
        obsm={"spatial": together[["x", "y"]].to_numpy(np.float64)},
    )
    found.uns["slide"] = slide.summary.name
    return TableModel.parse(found, region=list(frames), region_key="region", instance_key="instance_id")
