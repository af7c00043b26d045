"""Every source that numbers objects also numbers the pieces of a mask, if asked."""

import inspect
import shutil

import numpy as np
import pytest
import scipy.ndimage

from histoseg.demo.write import find_demo
from histoseg.errors import ConfigError, DataError
from histoseg.runs import catalog
from histoseg.sources import glas
from tests.beside import SHARED
from tests.sources.raw_files import grey, save

NUMBERED = ["cerberus_gland", "cerberus_lumen", "cerberus_nuclei", "consep", "crag", "glas", "lizard", "pannuke"]
NUMBERED += ["synthetic_nuclei"]
ODD = SHARED / "data" / "odd" / "glas_binary_anno.bmp"


def test_these_are_all():
    """MoNuSeg outlines its nuclei."""
    sources = {name: catalog.load_source(name) for name in catalog.names("histoseg.sources")}
    kinds = {name for name, source in sources.items() if source.TASK.kind == "instance"}
    assert kinds - {"monuseg"} == set(NUMBERED)
    offering = {name for name, source in sources.items() if "instances" in inspect.signature(source.entries).parameters}
    assert offering == set(NUMBERED)


@pytest.mark.parametrize("name", NUMBERED)
def test_pieces_of_numbers_are_objects(tmp_path, name):
    source = catalog.load_source(name)
    find_demo(name)(tmp_path, np.random.default_rng(0))
    numbered, pieces = (
        source.read(source.entries(tmp_path, instances=instances)[0]) for instances in ("numbered", "components")
    )
    np.testing.assert_array_equal(numbered.semantic_map, pieces.semantic_map)
    np.testing.assert_array_equal(numbered.instance_map > 0, pieces.instance_map > 0)
    for number in range(1, pieces.instance_map.max() + 1):
        mask = pieces.instance_map == number
        assert scipy.ndimage.label(mask, np.ones((3, 3)))[1] == 1
        assert len(np.unique(numbered.instance_map[mask])) == 1
    with pytest.raises(ConfigError, match=rf"no instances 'pieces' for {name}; choose from numbered, components"):
        source.entries(tmp_path, instances="pieces")


@pytest.mark.skipif(not ODD.is_file(), reason=f"{ODD} is not at hand")
def test_the_odd_mask(tmp_path):
    shutil.copy(ODD, tmp_path / "train_1_anno.bmp")
    save(tmp_path / "train_1.bmp", grey(218, 312))
    (tmp_path / "Grade.csv").write_text("name,patient ID\ntrain_1,4\n")
    with pytest.raises(DataError, match=r"train_1_anno.bmp: .*8 separate pieces.*--option instances=components"):
        glas.read(glas.entries(tmp_path)[0])
    assert glas.read(glas.entries(tmp_path, instances="components")[0]).instance_map.max() == 8
