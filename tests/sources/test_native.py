"""A lab's own data for Cerberus: its table, its labels, its people."""

import numpy as np
import pytest

from histoseg.errors import DataError, MissingSourceError
from histoseg.files.notes import collect
from histoseg.sources import cerberus_gland, cerberus_lumen, cerberus_nuclei
from histoseg.types import EXTERNAL, IGNORE
from tests.sources.raw_files import OBJECTS, grey, save, save_mat


def native(root, structure, table=None, names=("a", "b"), **objects):
    folder = root / "lab" / "cerberus_native" / structure
    for name in names:
        save(folder / "Images" / f"{name}.png", grey())
        save_mat(folder / "Labels" / f"{name}.mat", **(objects or OBJECTS))
    if table is not None:
        (folder / "split.csv").write_text(table)


def test_native_table(tmp_path):
    table = "Filename,Split,Patient,MPP\na,1,Case 4,0.25\na,1,Case 4,0.25\nb.png,External,,\nabsent,2,,\n"
    native(tmp_path, "nuclei", table)
    first, second = cerberus_nuclei.entries(tmp_path)
    assert (first.fold, first.patient, cerberus_nuclei.read(first).mpp) == ("fold1", "Case-4", 0.25)
    assert (second.fold, second.patient, cerberus_nuclei.read(second).mpp) == (EXTERNAL, "b", 0.5)
    np.testing.assert_array_equal(cerberus_nuclei.read(first).semantic_map, [[0, 1], [2, 2]])


def test_native_without_table_is_free_to_go_into_any_fold(tmp_path):
    native(tmp_path, "gland")
    assert [(entry.fold, entry.patient) for entry in cerberus_gland.entries(tmp_path)] == [(None, "a"), (None, "b")]


@pytest.mark.parametrize("source", [cerberus_gland, cerberus_lumen])
def test_native_glands_and_lumina_may_lack_classes(tmp_path, source):
    native(tmp_path, source.TASK.structure, inst_map=[[0, 5], [6, 6]])
    sample = source.read(source.entries(tmp_path)[0])
    np.testing.assert_array_equal(sample.semantic_map, [[0, 1], [1, 1]])
    np.testing.assert_array_equal(sample.instance_map, [[0, 5], [6, 6]])


def test_native_nuclei_without_classes_are_nuclei(tmp_path):
    native(tmp_path, "nuclei", inst_map=[[0, 5], [6, 6]])
    with collect() as notes:
        sample = cerberus_nuclei.read(cerberus_nuclei.entries(tmp_path)[0])
    np.testing.assert_array_equal(sample.instance_map, [[0, 5], [6, 6]])
    np.testing.assert_array_equal(sample.semantic_map, [[0, IGNORE], [IGNORE, IGNORE]])
    assert notes == {"objects without a class: found, but no class is learnt from them": 2}


def test_native_image_of_two_structures_is_the_same_tissue(tmp_path):
    native(tmp_path, "gland", names=("a b", "c"))
    native(tmp_path, "lumen", names=("a b",))
    native(tmp_path / "other", "nuclei", names=("c",))  # Another laboratory's.
    assert [entry.same_as for entry in cerberus_gland.entries(tmp_path)] == [("cerberus_lumen/a-b",), ()]
    assert cerberus_nuclei.entries(tmp_path)[0].same_as == ()


def test_native_patients_are_the_same_people_in_every_structure(tmp_path):
    """One laboratory's number 7 is one person; another laboratory's is another."""
    for structure, name in (("gland", "a"), ("nuclei", "b")):
        native(tmp_path, structure, f"Filename,Split,Patient\n{name}.png,1,7\n", names=(name,))
    native(tmp_path / "other", "lumen", "Filename,Split,Patient\nc.png,1,7\n", names=("c",))
    sources = (cerberus_gland, cerberus_nuclei, cerberus_lumen)
    people = [source.entries(tmp_path)[0].person for source in sources]
    assert people[0] == people[1] != people[2]


def test_native_structures_do_not_mix(tmp_path):
    native(tmp_path, "gland")
    with pytest.raises(MissingSourceError, match="no Cerberus lumina found"):
        cerberus_lumen.entries(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("Filename,Patient\na,1\nb,1\n", "expected Filename and Split"),
        ("Filename,Split\na,1\n", "has no row for b"),
        ("Filename,Split\na,1\nb,test\n", "Split of b is 'test'; expected 1, 2, 3, external"),
        ("Filename,Split,MPP\na,1,0.5\nb,1,0\n", "MPP of b is '0'; expected a positive number"),
        ("Filename,Split,MPP\na,1,-0.5\nb,1,\n", "MPP of a is '-0.5'; expected a positive number"),
        ("Filename,Split,MPP\na,1,20x\nb,1,\n", "MPP of a is '20x'; expected a positive number"),
        ("Filename,Split,MPP\na,1,inf\nb,1,\n", "MPP of a is 'inf'; expected a positive number"),
        ("Filename,Split,MPP\na,1,nan\nb,1,\n", "MPP of a is 'nan'; expected a positive number"),
        ("Filename,Split,MPP\na,1,0.5\nb,1,\na,1,0.25\n", "MPP of a is '0.5' and '0.25'; remove one of the rows"),
        ("Filename,Split,Patient\na,1,p\nb,1,p\na,1,q\n", "Patient of a is 'p' and 'q'; remove one of the rows"),
        ("Filename,Split,Patient\na,1,p\nb,2,p\n", "patient p is in fold1 and in fold2"),
    ],
)
def test_native_table_faults(tmp_path, table, message):
    native(tmp_path, "lumen", table)
    with pytest.raises(DataError, match=message):
        cerberus_lumen.entries(tmp_path)
