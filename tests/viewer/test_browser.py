"""The page in a real browser: what it shows, compared with what NumPy and shapely make of the same objects."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
import shapely
from PIL import Image

from histoseg.store.objects import FileStore
from tests.viewer.browser import box_in_view, chromium, settle, until
from tests.viewer.client import viewing
from tests.viewer.conftest import CAVEAT
from tests.viewer.made_up import CLASSES, COLOURS, MPP

SLIDE = "first slide"


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def made(cohort):
    return cohort[1][SLIDE]


@pytest.fixture(scope="module")
def address(cohort):
    with viewing(FileStore(cohort[0] / "results")) as client:
        yield f"http://127.0.0.1:{client.port}/"


@pytest.fixture
def page(browser):
    """A page in which nothing may go wrong unnoticed."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: message.type == "error" and problems.append(message.text))
    opened.problems = problems
    yield opened
    opened.close()
    assert not [text for text in problems if "Failed to load resource" not in text]


def at(address, **parts):
    return f"{address}#slide=first+slide&" + "&".join(f"{name}={value}" for name, value in parts.items())


def shown_counts(page):
    """In view and in all, as the legend has them, by the kinds of a row."""
    rows = page.eval_on_selector_all(
        "#objects [data-kinds]",
        "rows => rows.map(row => [row.innerText.split('\\n')[0], row.querySelector('.number').innerText])",
    )
    return {name.strip(): [int(part.replace(",", "")) for part in text.split("/")] for name, text in rows}


def count_in(made, structure, box, class_name=None):
    """How many centroids lie in a box, by shapely and NumPy."""
    shapes = made.polygons[structure]
    if class_name:
        shapes = shapes[made.classes[structure] == CLASSES[structure].index(class_name)]
    x, y = np.float32(shapely.get_coordinates(shapely.centroid(shapes))).T
    return int(((x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])).sum())


def settled_counts(page):
    settle(page)
    until(page, lambda: "…" not in page.inner_text("#objects"))
    return shown_counts(page)


def is_near(pixels, colour, distance=60):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(pixels.astype(int) - wanted).sum(axis=2) < distance


def pixels_of(page, canvas):
    """The pixels of a canvas, as PNG: a list of millions of numbers takes a minute."""
    body = page.evaluate(f"{canvas}.toDataURL('image/png')").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGBA"))


def layers_of(page):
    """The pixels of the layers, without the slide below them."""
    return pixels_of(page, "viewer.overlay.canvas")


def test_it_opens_with_the_whole_slide_and_all_counts(page, address, made):
    page.goto(address)
    counts = settled_counts(page)
    assert counts["Nuclei"] == [20_000, 20_000]
    assert counts["Glands"] == [60, 60]
    for i, name in enumerate(CLASSES["nuclei"]):
        assert counts[name] == [int((made.classes["nuclei"] == i).sum())] * 2
    assert CAVEAT in page.inner_text("#caveats")
    assert "6,000 \u00d7 5,000 px" in page.inner_text("#facts")
    assert page.is_visible("#density")
    assert page.locator("#slides button").count() == 2


def test_counts_follow_the_view(page, address, made):
    page.goto(at(address, at="3000,2500", shrink=1))
    first = settled_counts(page)
    box = box_in_view(page)
    assert box[2] - box[0] < 1200
    assert first["Nuclei"][0] == count_in(made, "nuclei", box)
    assert first["lymphocyte"][0] == count_in(made, "nuclei", box, "lymphocyte")
    page.keyboard.press("+")
    until(page, lambda: box_in_view(page) != box)
    zoomed = settled_counts(page)
    assert zoomed["Nuclei"][0] == count_in(made, "nuclei", box_in_view(page)) < first["Nuclei"][0]
    page.keyboard.press("ArrowRight")
    until(page, lambda: box_in_view(page)[0] > box[0] + 10)
    assert settled_counts(page)["Nuclei"][0] == count_in(made, "nuclei", box_in_view(page))


def test_the_slide_is_drawn_where_its_objects_are(page, address, made):
    """The picture is dark within nuclei, so the layers lie where the slide does."""
    page.goto(at(address, at="3000,2500", shrink=0.5))
    settle(page)
    until(page, lambda: page.evaluate("viewer.view.osd.world.getItemAt(0).getFullyLoaded()"))
    view = page.evaluate("viewer.view.view()")
    pixels = pixels_of(page, "viewer.view.osd.drawer.canvas")[..., 1]
    centres = shapely.get_coordinates(shapely.centroid(made.polygons["nuclei"]))
    x, y = ((centres - (view["left"], view["top"])) * view["scale"]).round().astype(int).T
    inside = (x > 5) & (y > 5) & (x < pixels.shape[1] - 5) & (y < pixels.shape[0] - 5)
    assert inside.sum() > 20
    assert np.median(pixels[y[inside], x[inside]]) < 100 < np.median(pixels)
    drawn = layers_of(page)[..., 3] > 0
    corners = shapely.get_coordinates(made.polygons["nuclei"])
    x, y = ((corners - (view["left"], view["top"])) * view["scale"]).round().astype(int).T
    inside = (x > 5) & (y > 5) & (x < pixels.shape[1] - 5) & (y < pixels.shape[0] - 5)
    assert drawn[y[inside], x[inside]].mean() > 0.99


@pytest.mark.parametrize("shrink", [0.5, 3])
def test_classes_can_be_switched_off(page, address, shrink):
    page.goto(at(address, at="3000,2500", shrink=shrink))
    settle(page)
    colour = COLOURS["nuclei"]["lymphocyte"]
    before = is_near(layers_of(page)[..., :3], colour).sum()
    assert before > 50
    page.locator("#objects .kind", has_text="lymphocyte").click()
    settle(page)
    assert is_near(layers_of(page)[..., :3], colour).sum() < 0.02 * before
    page.locator("#objects .kind", has_text="lymphocyte").click()
    settle(page)
    assert is_near(layers_of(page)[..., :3], colour).sum() == before


def test_everything_can_be_hidden(page, address):
    page.goto(at(address, at="3000,2500", shrink=1, tissue=0.4))
    settle(page)
    assert (layers_of(page)[..., 3] > 0).mean() > 0.95  # Tissue
    page.keyboard.press("t")
    settle(page)
    assert 0.01 < (layers_of(page)[..., 3] > 0).mean() < 0.7
    page.keyboard.press("h")
    settle(page)
    assert not layers_of(page).any()


def test_a_click_finds_the_object(page, address, made):
    gland = made.polygons["gland"][30]
    place = gland.centroid
    page.goto(at(address, at=f"{place.x},{place.y}", shrink=1, hide="lumen:"))
    settle(page)
    page.locator("#objects .kind", has_text="Nuclei").click()
    settle(page)
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(page, lambda: page.is_visible("#card"))
    text = page.inner_text("#card")
    assert text.startswith("Gland")
    numbers = dict(
        zip(page.locator("#card dt").all_inner_texts(), page.locator("#card dd").all_inner_texts(), strict=True)
    )
    area = gland.area * MPP**2
    assert float(numbers["area"].replace(",", "").split()[0]) == pytest.approx(area, rel=5e-3)  # Three digits
    assert float(numbers["equivalent diameter"].split()[0]) == pytest.approx(2 * np.sqrt(area / np.pi), rel=5e-3)
    assert numbers["position"] == f"x {place.x:,.0f}, y {place.y:,.0f} px"
    page.keyboard.press("Escape")
    assert not page.is_visible("#card")


def test_a_link_restores_slide_view_and_layers(page, browser, address):
    page.goto(at(address, at="2100.5,1700.5", shrink=0.7))
    settle(page)
    page.locator("#objects .kind", has_text="connective").click()
    page.keyboard.press("t")
    page.keyboard.press("+")
    settle(page)
    page.wait_for_timeout(600)
    link = until(page, lambda: "hide=nuclei%3Aconnective" in page.url and "tissue=0.35" in page.url and page.url)
    first = page.evaluate("({ ...viewer.middle(), hidden: viewer.settings.hidden, tissue: viewer.settings.tissue })")
    other = browser.new_page(viewport={"width": 1500, "height": 900})
    other.goto(link)
    settle(other)
    second = other.evaluate("({ ...viewer.middle(), hidden: viewer.settings.hidden, tissue: viewer.settings.tissue })")
    other.close()
    assert first["shrink"] == pytest.approx(0.7 / 1.5, rel=0.01)
    assert second["hidden"] == first["hidden"] == [3]
    assert second["tissue"] is True
    for name in ("x", "y"):
        assert second[name] == pytest.approx(first[name], abs=1)
    assert second["shrink"] == pytest.approx(first["shrink"], rel=1e-3)


def test_the_view_is_saved_as_png(page, address, tmp_path):
    page.goto(at(address, at="3000,2500", shrink=1))
    settle(page)
    until(page, lambda: page.evaluate("viewer.view.osd.world.getItemAt(0).getFullyLoaded()"))
    with page.expect_download() as download:
        page.keyboard.press("e")
    assert download.value.suggested_filename == "first slide.png"
    download.value.save_as(tmp_path / "view.png")
    pixels = np.asarray(Image.open(tmp_path / "view.png").convert("RGB"))
    assert pixels.shape[:2] == tuple(page.evaluate("[viewer.overlay.canvas.height, viewer.overlay.canvas.width]"))
    assert pixels.std() > 20
    for name in ("lymphocyte", "epithelial"):
        assert is_near(pixels, COLOURS["nuclei"][name]).sum() > 50
    assert is_near(pixels, "#583c82").sum() > 500  # The nuclei of the slide itself


def test_the_scale_bar_has_its_length(page, address):
    for shrink in (4, 0.5):
        page.goto(at(address, at="3000,2500", shrink=shrink))
        settle(page)
        page.wait_for_timeout(300)
        text = page.inner_text("#scale")
        um = float(text.split()[0]) * (1000 if "mm" in text else 1)
        width = page.eval_on_selector("#scale span", "bar => parseFloat(bar.style.width)")
        assert width == pytest.approx(um / (MPP * shrink), rel=0.01)
        assert 55 < width <= 150


def test_keys_are_listed_and_slides_are_filtered_and_sorted(page, address):
    page.goto(address)
    settle(page)
    page.keyboard.press("?")
    assert "Save this view as PNG" in page.inner_text("#help")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("LAST")
    assert page.locator("#slides strong").all_text_contents() == ["second & last"]
    page.keyboard.press("Enter")
    until(page, lambda: page.inner_text("#title") == "second & last")
    assert settled_counts(page)["Nuclei"] == [900, 900]
    page.fill("#filter", "")
    page.select_option("#sort", "count:nuclei")
    assert page.locator("#slides strong").all_text_contents() == ["first slide", "second & last"]
    page.locator("#stage").click()
    page.keyboard.press("k")
    until(page, lambda: page.inner_text("#title") == "first slide")


@pytest.mark.parametrize("broken", ["picture", "objects", "summary"])
def test_what_is_damaged_is_a_message(page, cohort, tmp_path, broken):
    results = shutil.copytree(cohort[0] / "results", tmp_path / "results")
    path = results / SLIDE / "summary.json"
    if broken == "objects":
        (results / SLIDE / "objects.parquet").write_bytes(b"nothing")
    elif broken == "picture":
        path.write_text(path.read_text().replace(str(cohort[0]), "/nowhere"))
    else:
        path.write_text(json.dumps({"name": SLIDE}))
    with viewing(FileStore(results)) as client:
        page.goto(f"http://127.0.0.1:{client.port}/#slide=first+slide")
        named = {"picture": "/nowhere", "objects": "objects.parquet", "summary": "summary.json"}[broken]
        until(page, lambda: named in page.inner_text("#notice"))
        if broken == "picture":
            assert settled_counts(page)["Glands"] == [60, 60]
            assert (layers_of(page)[..., 3] > 0).mean() > 0.2
        page.locator("#slides button", has_text="second & last").click()
        assert settled_counts(page)["Nuclei"] == [900, 900]
        assert not page.is_visible("#notice")


def test_an_empty_folder_says_so(page, tmp_path):
    with viewing(FileStore(tmp_path)) as client:
        page.goto(f"http://127.0.0.1:{client.port}/")
        until(page, lambda: "No slide" in page.inner_text("#empty"))


def test_the_token_in_the_address_is_enough(page, cohort):
    with viewing(FileStore(cohort[0] / "results"), token="correct-horse") as client:
        page.goto(f"http://127.0.0.1:{client.port}/?token=correct-horse#slide=second+%26+last")
        assert settled_counts(page)["Nuclei"] == [900, 900]
        assert "token" not in page.url
