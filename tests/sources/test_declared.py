"""A folder with a `source.toml` is a source: found, checked, read, written and trained on as any other."""

import unicodedata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.io
from PIL import Image

from histoseg import cli
from histoseg.errors import DataError
from histoseg.experiments import cerberus, table1
from histoseg.pipeline.plan import make_plan, sources_of
from histoseg.runs.config import Data
from histoseg.shards.index import open_index
from histoseg.shards.prepare import prepare_sources
from histoseg.shards.writer import Recipe
from histoseg.sources._declared import find_declarations, load_source
from histoseg.store.objects import connect
from histoseg.types import IGNORE
from tests.command import succeed

BASE = {
    "name": '"our_glands"',
    "title": '"Our glands"',
    "licence": '"ours"',
    "kind": '"semantic"',
    "classes": '["background", "gland"]',
    "mpp": "0.5",
    "images": '"images/{name}.png"',
    "labels": '"masks/{name}_mask.png"',
}


def declare(folder, values="", **fields):
    """The folder's `source.toml`: the example with other fields, as TOML; empty ones are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {text}" for name, text in {**BASE, **fields}.items() if text]
    (folder / "source.toml").write_text("\n".join([*lines, "[values]" if values else "", values]))
    return folder


def draw(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def fill(folder, names, mask=None, size=(40, 48)):
    """Images of noise, each with a mask: two rectangles of value 1 unless given."""
    rng = np.random.default_rng(0)
    if mask is None:
        mask = np.zeros(size, np.uint8)
        mask[4:14, 4:20] = mask[20:34, 10:30] = 1
    for name in names:
        draw(folder / "images" / f"{name}.png", rng.integers(0, 256, (*size, 3)))
        draw(folder / "masks" / f"{name}_mask.png", mask)
    return mask


def read_first(folder, **options):
    """The first sample of the only source that a folder declares."""
    ((name, path),) = find_declarations(folder).items()
    source = load_source(name, {name: path})
    return source.read(source.entries(folder, **options)[0])


def test_images_and_masks_are_paired_and_patients_read_from_names(tmp_path):
    folder = declare(tmp_path / "glands", patient="'/(case[0-9]+)_'")
    mask = fill(folder, ["case1_a", "case1_b", "case2_a"])
    source = load_source("our_glands", find_declarations(tmp_path))
    entries = source.entries(tmp_path)
    assert [(entry.key, entry.patient) for entry in entries] == [
        ("case1_a", "case1"),
        ("case1_b", "case1"),
        ("case2_a", "case2"),
    ]
    sample = source.read(entries[0])
    np.testing.assert_array_equal(sample.semantic_map, mask)
    assert (sample.mpp, sample.instance_map, source.TASK.title) == (0.5, None, "Our glands")


def test_masks_beside_their_images_are_not_taken_for_images(tmp_path):
    folder = declare(tmp_path / "flat", images='"{name}.png"', labels='"{name}_mask.png"')
    draw(folder / "a.png", np.full((20, 20, 3), 7))
    draw(folder / "a_mask.png", np.ones((20, 20)))
    (entry,) = load_source("our_glands", find_declarations(tmp_path)).entries(tmp_path)
    assert (entry.key, entry.files["annotation"].name) == ("a", "a_mask.png")


def test_a_part_of_the_path_may_be_shared_and_upper_case_is_the_same(tmp_path):
    folder = declare(
        tmp_path / "cases",
        images='"{case}/HE/{name}.png"',
        labels='"{case}/mask/{name}.png"',
        patient="'/(case[0-9]+)/'",
    )
    for case in ("case1", "case2"):
        draw(folder / case / "HE" / "x.PNG", np.full((20, 20, 3), 7))
        draw(folder / case / "mask" / "x.png", np.ones((20, 20)))
    entries = load_source("our_glands", find_declarations(tmp_path)).entries(tmp_path)
    assert [(entry.key, entry.patient) for entry in entries] == [("case1-HE-x", "case1"), ("case2-HE-x", "case2")]


def test_values_have_the_classes_that_are_declared(tmp_path):
    folder = declare(tmp_path / "glands", '0 = "background"\n255 = "gland"\n7 = "ignored"')
    mask = np.zeros((40, 48), np.uint8)
    mask[:10], mask[30:] = 255, 7
    fill(folder, ["a"], mask)
    found = read_first(tmp_path).semantic_map
    assert [int(found[row, 0]) for row in (5, 20, 35)] == [1, 0, IGNORE]


def test_colours_have_the_classes_that_are_declared(tmp_path):
    values = '"#000000" = "background"\n"#ff0000" = "tumour"\n"#00FF00" = "stroma"'
    folder = declare(tmp_path / "glands", values, classes='["background", "tumour", "stroma"]')
    fill(folder, ["a"])
    mask = np.zeros((40, 48, 3), np.uint8)
    mask[:10, :, 0], mask[30:, :, 1] = 255, 255
    draw(folder / "masks" / "a_mask.png", mask)
    found = read_first(tmp_path).semantic_map
    assert [int(found[row, 0]) for row in (5, 20, 35)] == [1, 0, 2]
    mask[20, 7] = (1, 2, 3)
    draw(folder / "masks" / "a_mask.png", mask)
    with pytest.raises(DataError, match=r"a_mask\.png: 1 pixels are #010203; .* to #000000, #ff0000, #00FF00"):
        read_first(tmp_path)


def test_files_whose_names_differ_only_in_case_or_form(tmp_path):
    folder = declare(tmp_path / "glands")
    fill(folder, ["a", "A"])
    found = load_source("our_glands", find_declarations(tmp_path)).entries(tmp_path)
    assert [(entry.files["image"].name, entry.files["annotation"].name) for entry in found] == [
        ("A.png", "A_mask.png"),
        ("a.png", "a_mask.png"),
    ]
    for form in ("NFC", "NFD"):
        fill(folder, [unicodedata.normalize(form, "ä")])
    with pytest.raises(DataError, match=r"the same name as .*, but for how accents are stored"):
        load_source("our_glands", find_declarations(tmp_path)).entries(tmp_path)


def test_a_value_without_a_class_is_refused(tmp_path):
    """A mask of 0 and 255 whose values are not declared would otherwise be all background or all ignored."""
    folder = declare(tmp_path / "glands")
    mask = np.zeros((40, 48), np.uint8)
    mask[0, :5] = 255
    fill(folder, ["a"], mask)
    with pytest.raises(DataError, match=r"a_mask\.png: 5 pixels are 255; source.toml gives a class to 0, 1; say in"):
        read_first(tmp_path)


def test_objects_are_numbered_or_the_pieces_of_a_class(tmp_path):
    folder = declare(tmp_path / "glands", kind='"instance"', structure='"gland"')
    mask = fill(folder, ["a"])
    assert read_first(tmp_path).instance_map.max() == 1  # The file numbers both rectangles 1.
    pieces = read_first(tmp_path, instances="components")
    assert sorted(np.unique(pieces.instance_map).tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(pieces.instance_map > 0, mask > 0)
    np.testing.assert_array_equal(pieces.semantic_map, mask)


def test_classes_of_objects_are_those_of_their_pieces(tmp_path):
    fields = {"kind": '"instance"', "instances": '"components"', "classes": '["background", "benign", "malignant"]'}
    folder = declare(tmp_path / "glands", '0 = "background"\n100 = "benign"\n200 = "malignant"', **fields)
    mask = np.zeros((40, 48), np.uint8)
    mask[2:8, 2:8], mask[20:30, 2:8], mask[20:30, 20:40] = 100, 100, 200
    fill(folder, ["a"], mask)
    sample = read_first(tmp_path)
    pairs = {(int(i), int(c)) for i, c in zip(sample.instance_map.flat, sample.semantic_map.flat, strict=True)}
    assert pairs == {(0, 0), (1, 1), (2, 1), (3, 2)}


def test_objects_of_matlab_files(tmp_path):
    folder = declare(tmp_path / "glands", kind='"instance"', labels='"labels/{name}.mat"')
    fill(folder, ["a"])
    numbers = np.zeros((40, 48), np.int32)
    numbers[3:9, 3:9], numbers[20:25, 5:30] = 4, 9
    (folder / "labels").mkdir()
    scipy.io.savemat(folder / "labels" / "a.mat", {"inst_map": numbers})
    np.testing.assert_array_equal(read_first(tmp_path).instance_map, numbers)


def test_objects_of_several_classes_may_lack_them(tmp_path, store, caplog):
    """They are objects, and the log says that no class is learnt; a class that is not known is no wrong mask."""
    fields = {"kind": '"instance"', "structure": '"nuclei"', "labels": '"labels/{name}.mat"'}
    folder = declare(tmp_path / "raw" / "glands", classes='["background", "a", "b"]', **fields)
    numbers = np.zeros((40, 48), np.int32)
    numbers[3:9, 3:9], numbers[20:25, 5:30] = 1, 2
    (folder / "labels").mkdir(parents=True)
    for i in range(3):
        draw(folder / "images" / f"{i}.png", np.full((40, 48, 3), 9 * i))
        scipy.io.savemat(folder / "labels" / f"{i}.mat", {"inst_map": numbers})
    prepare(tmp_path / "raw", store, Data(patch_px=16))
    assert "our_glands: its 6 objects have no class, so none is learnt" in caplog.text
    assert "no pixel is" not in caplog.text
    index = open_index(store, "our_glands", "16px")
    assert (index.has_untyped_objects, sum(index.samples.num_objects)) == (True, 6)


def test_folders_are_classes_of_whole_images(tmp_path):
    fields = {"kind": '"patch"', "classes": '["background", "tumour"]', "images": '"*/{name}.png"', "labels": ""}
    folder = declare(tmp_path / "tiles", '"01_TUMOR" = "tumour"', structure='"tissue"', **fields)
    draw(folder / "01_TUMOR" / "a.png", np.full((20, 20, 3), 7))
    assert set(read_first(tmp_path).semantic_map.ravel().tolist()) == {1}
    draw(folder / "00_new" / "a.png", np.full((20, 20, 3), 7))
    with pytest.raises(
        DataError, match=r"00_new/a\.png: its folder is none of background, tumour, 01_TUMOR; add '00_n"
    ):
        read_first(tmp_path)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_folders_that_are_classes_may_be_in_either_normal_form(tmp_path, form):
    fields = {"kind": '"patch"', "classes": '["Fett", "Drüse"]', "images": '"*/{name}.png"', "labels": ""}
    folder = declare(tmp_path / "tiles", structure='"tissue"', **fields)
    draw(folder / unicodedata.normalize(form, "Drüse") / "a.png", np.full((20, 20, 3), 7))
    assert set(read_first(tmp_path).semantic_map.ravel().tolist()) == {1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": '"instances"'}, r"kind is 'instances': must be 'semantic', 'instance' or 'patch'"),
        ({"mpp": "40"}, r"mpp is 40: must be between 0.05 and 5"),
        ({"mpp": '"0.5"'}, r"mpp is '0.5': must be a valid number"),
        ({"mpp": ""}, r"mpp is missing; add it"),
        ({"name": '"Our glands"'}, r"name is 'Our glands': must match pattern"),
        ({"colour": '"red"'}, r"no field 'colour'; choose from name, title, licence, kind"),
        ({"images": '"images/*.png"'}, r"images is 'images/\*.png': must contain \{name\}"),
        ({"images": '"../{name}.png"'}, r"images is '../\{name\}.png': must be a path below the folder"),
        ({"labels": '"masks/{case}.png"'}, r"labels is 'masks/\{case\}.png': `images` does not name case"),
        ({"labels": ""}, r"labels is '': must not be empty"),
        ({"patient": "'case[0-9]+'"}, r"patient is 'case\[0-9\]\+': must have one group in parentheses"),
        ({"patient": "'(case'"}, r"patient is '\(case': must be a regular expression"),
        ({"structure": '"glands"'}, r"structure is 'glands'; choose from '', 'gland', 'lumen', 'nuclei'"),
        ({"classes": '["gland"]'}, r"classes is \('gland',\); it must be a tuple of 2"),
        ({"instances": '"components"'}, r"instances is for kind 'instance' alone"),
        ({"values": '255 = "glnd"'}, r"values.255 is 'glnd': choose from background, gland, ignored"),
        ({"values": '256 = "gland"'}, r"values.256: must be a number from 0 to 255"),
        ({"values": '1 = "gland"\n01 = "background"'}, r"values.1: must be there once"),
        ({"values": '"#00ff00" = "gland"\n"#00FF00" = "background"'}, r"values.#00ff00: must be there once"),
        ({"values": 'red = "gland"'}, r"values.red: must be a number from 0 to 255, or all must be colours"),
        ({"kind": '"instance"', "values": '255 = "gland"'}, r"values has no meaning where labels number objects"),
        ({"name": '"unclosed'}, r"not readable as TOML"),
    ],
)
def test_each_fault_of_a_declaration_is_a_line(tmp_path, fields, message):
    folder = declare(tmp_path / "our_glands", **fields)
    declared = find_declarations(tmp_path)
    with pytest.raises(DataError, match=message) as error:
        load_source(next(iter(declared)), declared)
    assert str(error.value).count(str(folder / "source.toml")) == len(str(error.value).splitlines()) == 1


def test_several_faults_are_several_lines(tmp_path):
    declare(tmp_path / "glands", mpp="0", kind='"x"', title="")
    with pytest.raises(DataError) as error:
        load_source("our_glands", find_declarations(tmp_path))
    assert [line.split(": ")[1].split()[0] for line in str(error.value).splitlines()] == ["title", "kind", "mpp"]


def test_a_name_is_declared_once(tmp_path):
    declare(tmp_path / "a")
    declare(tmp_path / "b")
    with pytest.raises(DataError, match=r"b/source\.toml: the name 'our_glands' is also that of .*a/source\.toml"):
        find_declarations(tmp_path)
    declare(tmp_path / "b", name='"glas"')
    with pytest.raises(DataError, match=r"b/source\.toml: the name 'glas' is that of a source of the program"):
        find_declarations(tmp_path)


def test_files_without_their_counterpart_are_named(tmp_path):
    folder = declare(tmp_path / "glands")
    source = load_source("our_glands", find_declarations(tmp_path))
    with pytest.raises(DataError, match=r"glands/source\.toml: no file is as images = 'images/\{name\}\.png'; correct"):
        source.entries(tmp_path)
    fill(folder, ["a", "b"])
    (folder / "masks" / "b_mask.png").unlink()
    with pytest.raises(DataError, match=r"images/b\.png without annotation"):
        source.entries(tmp_path)
    (folder / "images" / "b.png").unlink()
    draw(folder / "masks" / "c_mask.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"masks/c_mask\.png without image"):
        source.entries(tmp_path)


def test_a_name_without_a_patient_is_refused(tmp_path):
    folder = declare(tmp_path / "glands", patient="'/(case[0-9]+)_'")
    fill(folder, ["case1_a", "b"])
    with pytest.raises(DataError, match=r"patient = '/\(case\[0-9\]\+\)_' finds none in images/b\.png"):
        load_source("our_glands", find_declarations(tmp_path)).entries(tmp_path)


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'store'}")


def prepare(raw, store, data, sources=("our_glands",)):
    with ThreadPoolExecutor(1) as pool:
        recipe = Recipe(data=data, declared=find_declarations(raw))
        return prepare_sources(sources, raw, store, recipe, pool, strict=True)


def test_a_changed_declaration_writes_its_shards_again(tmp_path, store):
    raw = tmp_path / "raw"
    fill(declare(raw / "glands"), [f"case{i}" for i in range(6)])
    prepare(raw, store, Data(patch_px=16))
    before = open_index(store, "our_glands", "16px").class_pixels().tolist()
    declare(raw / "glands", '0 = "gland"\n1 = "background"')
    prepare(raw, store, Data(patch_px=16))
    assert open_index(store, "our_glands", "16px").class_pixels().tolist() == before[::-1]


def test_cerberus_reads_it_by_its_structure_also_where_only_the_store_knows_it(tmp_path, store):
    raw = tmp_path / "raw"
    objects = {"kind": '"instance"', "instances": '"components"'}
    names = [f"case{i}" for i in range(9)]
    fill(declare(raw / "glands", structure='"gland"', **objects), names, size=(128, 128))
    fill(declare(raw / "nuclei", name='"our_nuclei"', structure='"nuclei"', **objects), names, size=(160, 160))
    declared = find_declarations(raw)
    assert set(sources_of(cerberus, declared)) - set(cerberus.SOURCES) == {"our_glands", "our_nuclei"}
    assert sources_of(table1, declared) == list(table1.SOURCES)
    data = cerberus.SCALES["laptop"].data
    prepare(raw, store, data, ("our_glands", "our_nuclei"))
    (run,) = make_plan("cerberus", store, "laptop", 1, []).runs
    assert run.sources == ("our_glands", "our_nuclei")
    assert run.stages[0].select.sources == ("our_glands", "our_nuclei")


def test_from_a_look_at_a_folder_to_shards(tmp_path, capsys):
    """What `declare` writes is completed by a person, then the folder is a source."""
    folder, url = tmp_path / "raw" / "Our glands", f"file://{tmp_path / 'store'}"
    mask = np.zeros((40, 48), np.uint8)
    mask[5:20, 5:20] = 255
    fill(folder, [f"case{i}_{j}" for i in range(4) for j in "12"], mask)
    out = succeed(capsys, "declare", folder)
    assert "8 images as images/{name}.png, with labels as masks/{name}_mask.png" in out
    assert "patients: 4, such as case0, case1, case2" in out
    assert f"histoseg prepare our_glands --raw '{folder}' --store URL" in out
    assert out.splitlines()[-1] == str(folder / "source.toml")
    text = (folder / "source.toml").read_text()
    with pytest.raises(SystemExit):
        cli.main(["prepare", "our_glands", "--raw", str(tmp_path / "raw"), "--store", url, "--patch-px", "16"])
    assert "source.toml: mpp is 0: must be between 0.05 and 5 microns per pixel" in capsys.readouterr().err
    (folder / "source.toml").write_text(text.replace("mpp = 0 ", "mpp = 0.5 "))
    assert "our_glands" in succeed(capsys, "list", "--raw", tmp_path / "raw")
    out = succeed(capsys, "prepare", "all", "--raw", tmp_path / "raw", "--store", url, "--patch-px", "16")
    assert "our_glands: 8 images of 4 patients" in out
    index = open_index(connect(url), "our_glands", "16px")
    assert index.task.classes == ("background", "object")
    assert index.class_pixels().tolist() == [8 * (40 * 48 - 225), 8 * 225]


def test_images_of_any_ending_are_images(tmp_path):
    folder = declare(tmp_path / "our_glands", images='"images/{name}.*"')
    fill(folder, ["a", "b"])
    (folder / "images" / "a.png").rename(folder / "images" / "a.PNG")
    (folder / "images" / "Thumbs.db").write_bytes(b"x")
    source = load_source("our_glands", find_declarations(tmp_path))
    assert [entry.key for entry in source.entries(tmp_path)] == ["a", "b"]


def test_why_an_experiment_leaves_a_declared_source_out_is_said(tmp_path, caplog):
    declared = find_declarations(declare(tmp_path / "our_tissue"))
    assert sources_of(cerberus, declared) == list(cerberus.SOURCES)
    assert "our_glands is left out: its structure is '', and cerberus reads gland, lumen, nuclei, tissue" in caplog.text
    assert sources_of(table1, declared) == list(table1.SOURCES)
    assert "our_glands is left out: table1 reads only gleason2019, " in caplog.text


def test_what_an_experiment_would_not_read_is_refused(tmp_path, capsys):
    fill(declare(tmp_path / "raw" / "glands"), ["a", "b", "c"])
    words = ["prepare", "our_glands", "--raw", tmp_path / "raw", "--store", "file:///nowhere", "--experiment", "table1"]
    with pytest.raises(SystemExit):
        cli.main(list(map(str, words)))
    assert "no run of table1 would read our_glands; it reads gleason2019, breastpathq" in capsys.readouterr().err
