"""What the viewer's server answers, compared with what shapely and NumPy make of the same objects."""

import io

import numpy as np
import pyarrow as pa
import pytest
import shapely
from PIL import Image

from histoseg.slides.objects import ObjectFile
from histoseg.slides.reader import open_slide
from histoseg.store.objects import FileStore
from histoseg.viewer.census import CELL_PX, COARSEST_LEVEL, TILE_CELLS, Density, outline_level
from histoseg.viewer.outlines import Outlines, read_outlines
from tests.viewer.client import viewing
from tests.viewer.conftest import CAVEAT
from tests.viewer.made_up import CLASSES, COLOURS, MPP

SLIDE = "first slide"


@pytest.fixture(scope="module")
def client(cohort):
    with viewing(FileStore(cohort[0] / "results")) as running:
        yield running


@pytest.fixture(scope="module")
def made(cohort):
    return cohort[1][SLIDE]


@pytest.fixture(scope="module")
def kinds(client):
    return [(kind["structure"], kind["class_name"]) for kind in client.of(SLIDE, "about").json["kinds"]]


@pytest.fixture(scope="module")
def table(cohort):
    return ObjectFile.open(FileStore(cohort[0] / "results"), f"{SLIDE}/objects.parquet").read()


def unpack_objects(body):
    """Ids, kinds and polygons out of the bytes that the page reads, in the square's own units."""
    num_objects, num_rings, num_points, _ = np.frombuffer(body, "<u4", 4)
    sizes = [("ids", "<i4", num_objects), ("owners", "<u4", num_rings), ("starts", "<u4", num_rings + 1)]
    sizes += [("points", "<i2", 2 * num_points), ("kinds", "<u2", num_objects)]
    found, at = {}, 16
    for name, kind, count in sizes:
        found[name] = np.frombuffer(body, kind, count, at)
        at += found[name].nbytes
    assert at == len(body)
    rings = np.split(found["points"].reshape(-1, 2), found["starts"][1:-1])
    return found["ids"], found["kinds"], found["owners"], rings


def test_the_list_names_all_slides_with_their_counts(client):
    listed = client.ask("/api/slides").json
    assert [slide["folder"] for slide in listed["slides"]] == ["first slide", "second & last"]
    assert listed["slides"][0]["counts"] == {"nuclei": 20_000, "glands": 60, "lumina": 60}
    assert listed["unfinished"] == []


def test_a_slide_is_described(client, made):
    about = client.of(SLIDE, "about").json
    assert (about["size_px"], about["mpp"], about["caveats"]) == ([6000, 5000], MPP, [CAVEAT])
    nuclei = [kind for kind in about["kinds"] if kind["structure"] == "nuclei"]
    assert [kind["class_name"] for kind in nuclei] == list(CLASSES["nuclei"])
    assert [kind["count"] for kind in nuclei] == np.bincount(made.classes["nuclei"]).tolist()
    assert [kind["colour"] for kind in nuclei] == [COLOURS["nuclei"][name] for name in CLASSES["nuclei"]]
    assert about["tissue"]["colours"][0] == ""  # Background is not painted.


BOXES = [(0, 0, 6000, 5000), (1000.5, 700.25, 2313, 1999), (-500, -500, 10, 10), (9e9, 0, 9.1e9, 1)]


@pytest.mark.parametrize("box", BOXES)
def test_counts_are_those_of_the_centroids_in_the_box(client, made, kinds, box):
    found = client.of(SLIDE, f"counts?box={','.join(map(str, box))}").json["counts"]
    expected = []
    for structure, name in kinds:
        shapes = made.polygons[structure]
        if name:
            shapes = shapes[made.classes[structure] == CLASSES[structure].index(name)]
        x, y = np.float32(shapely.get_coordinates(shapely.centroid(shapes))).T  # As the file has them
        expected.append(int(((x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])).sum()))
    assert found == expected


def test_outlines_of_a_square_are_those_of_the_objects_that_meet_it(client, table, kinds):
    side = 512 << 2
    ids, numbers, owners, rings = unpack_objects(client.of(SLIDE, "objects/nuclei/2/1/0").body)
    rows = np.isin(table["id"].to_numpy(), ids)
    shapes = dict(zip(table["id"].to_pylist(), shapely.from_wkb(table["geometry"].to_pylist()), strict=True))
    nuclei = np.array(table["structure"].to_pylist()) == "nuclei"
    meets = shapely.intersects(shapely.from_wkb(table["geometry"].to_pylist()), shapely.box(side, 0, 2 * side, side))
    assert set(table["id"].to_numpy()[nuclei & meets]) <= set(ids.tolist())
    assert set(np.array(table["structure"].to_pylist())[rows]) == {"nuclei"}
    classes = dict(zip(table["id"].to_pylist(), table["class"].to_pylist(), strict=True))
    assert [kinds[number] for number in numbers] == [("nuclei", classes[one]) for one in ids.tolist()]
    unit = side / 8192
    for i in range(0, len(ids), 50):
        corners = rings[int(np.flatnonzero(owners == i)[0])] * unit + (side, 0)
        assert shapely.hausdorff_distance(shapely.Polygon(corners), shapes[int(ids[i])]) <= unit


def test_coarse_outlines_keep_every_gland_with_fewer_points(client, made):
    fine = [unpack_objects(client.of(SLIDE, f"objects/gland/2/{x}/{y}").body) for x in range(3) for y in range(3)]
    ids, _, _, rings = unpack_objects(client.of(SLIDE, "objects/gland/5/0/0").body)
    assert len(ids) == len({one for part in fine for one in part[0].tolist()}) == len(made.polygons["gland"])
    assert sum(map(len, rings)) < sum(len(ring) for part in fine for ring in part[3])


def test_holes_and_pieces_keep_their_rings():
    """Two pieces, one of them with a hole: three rings of one object."""

    ring = shapely.box(0, 0, 10, 10).difference(shapely.box(4, 4, 6, 6))
    shapes = [shapely.box(50, 50, 51, 51), shapely.MultiPolygon([ring, shapely.box(20, 0, 30, 10)])]
    found = read_outlines(pa.chunked_array([pa.array(shapely.to_wkb(shapes))]))
    assert found.owners.tolist() == [0, 1, 1, 1]
    assert np.diff(found.starts).tolist() == [4, 4, 4, 4]
    areas = [shapely.Polygon(part).area for part in np.split(found.points, found.starts[1:-1])]
    assert areas == [1, 100, 4, 100]


def test_densities_add_up_to_the_counts(client, kinds):
    census = client.of(SLIDE, "census").json
    level = census["densities"]["nuclei"]["level"]
    assert level == census["outline_levels"]["nuclei"] + 1
    for at in (level, level + 1):
        sums = np.zeros(len(kinds), int)
        count = -(-6000 // (512 << at))  # Tiles along a side
        for column in range(count):
            for row in range(count):
                body = client.of(SLIDE, f"density/nuclei/{at}/{column}/{row}").body
                num_kinds, rows, columns, _ = np.frombuffer(body, "<u4", 4)
                own = np.frombuffer(body, "<u4", num_kinds, 16)
                cells = np.frombuffer(body, "<u4", -1, 16 + 4 * num_kinds).reshape(num_kinds, rows, columns)
                sums[own.astype(int)] += cells[:, 1:-1, 1:-1].sum((1, 2)).astype(int)
        assert sums[:4].tolist() == census["totals"][:4]


def test_a_cell_of_density_counts_its_objects(client, made):
    level = client.of(SLIDE, "census").json["densities"]["nuclei"]["level"]
    body = client.of(SLIDE, f"density/nuclei/{level}/0/0").body
    cells = np.frombuffer(body, "<u4", -1, 16 + 4 * 4).reshape(4, TILE_CELLS + 2, TILE_CELLS + 2).sum(0)
    side = CELL_PX << level
    x, y = shapely.get_coordinates(shapely.centroid(made.polygons["nuclei"])).T
    assert cells[1 + 3, 1 + 5] == ((x // side == 5) & (y // side == 3)).sum()
    assert cells[0].sum() == cells[:, 0].sum() == 0  # Outside of the slide


@pytest.mark.parametrize(
    ("diameter_px", "count", "level"),
    [
        (10.0, 5_000, COARSEST_LEVEL),  # Few objects
        (24.0, 5_001, 3),  # 24 / 2^3 = 3 pixels
        (23.9, 5_001, 2),
        (1.0, 5_001, 0),  # Seen only enlarged
    ],
)
def test_outlines_are_drawn_as_far_as_they_can_be_told_apart(diameter_px, count, level):
    assert outline_level(diameter_px, count) == level


def test_an_object_is_found_by_a_point_in_it(client, made, table):
    chosen = made.polygons["gland"][7]
    lumen = made.polygons["lumen"][7]
    inside = [name for name, shape in (("lumen", lumen), ("gland", chosen)) if shape.contains(lumen.centroid)]
    found = client.of(SLIDE, f"at?x={lumen.centroid.x}&y={lumen.centroid.y}").json["objects"]
    kinds = client.of(SLIDE, "about").json["kinds"]
    assert [kinds[one["kind"]]["structure"] for one in found][-2:] == inside
    assert found[-1]["area_um2"] == pytest.approx(chosen.area * MPP**2, rel=1e-5)
    assert found[-1]["diameter_um"] == pytest.approx(2 * np.sqrt(chosen.area * MPP**2 / np.pi), rel=1e-5)
    assert (found[-1]["x"], found[-1]["y"]) == pytest.approx((chosen.centroid.x, chosen.centroid.y), rel=1e-5)
    assert found[-1]["class_probability"] is None
    assert shapely.Polygon(found[-1]["rings"][0]).equals(chosen)
    assert client.of(SLIDE, "at?x=-10&y=-10").json["objects"] == []


def test_tiles_are_the_slide(client, cohort):
    with open_slide(cohort[0] / "slides" / f"{SLIDE}.tif") as slide:
        for level, column, row in ((0, 2, 3), (2, 2, 2), (3, 1, 1)):
            height, width = slide.size_at(MPP * 2**level)
            top, left = 512 * row, 512 * column
            box = (top, left, min(512, height - top), min(512, width - left))
            expected = slide.read(*box, MPP * 2**level).astype(int)
            found = np.asarray(Image.open(io.BytesIO(client.of(SLIDE, f"picture/{level}/{column}/{row}").body)))
            assert found.shape == expected.shape
            assert np.abs(found - expected).mean() < 8  # JPEG; a neighbouring tile differs by more than 20


def test_tissue_is_sent_row_by_row(client, cohort):
    body = client.of(SLIDE, "tissue").body
    width, height = np.frombuffer(body, "<u4", 2)
    assert (width, height) == (21, 18)  # 6000 and 5000 in squares of 288, rounded up
    shares = client.of(SLIDE, "about").json["tissue"]["shares"]
    found = np.bincount(np.frombuffer(body, np.uint8, -1, 8), minlength=4) / (width * height)
    assert np.round(found, 4).tolist() == list(shares.values())


def test_a_thumbnail_is_sent(client):
    assert Image.open(io.BytesIO(client.of(SLIDE, "thumbnail").body)).size == (256, 213)


def test_names_with_strange_letters_are_found(client):
    assert client.of("second & last", "about").json["folder"] == "second & last"


def test_wrong_arrays_are_refused():
    with pytest.raises(TypeError, match="counts"):
        Density(level=1, kinds=(0,), counts=np.zeros((3, 4), np.uint32))
    with pytest.raises(TypeError, match="starts"):
        Outlines(owners=np.zeros(1, int), starts=np.zeros(2, np.float32), points=np.zeros((4, 2)))
