"""Made-up shards are as the experiments at their published scale read them."""

import made_up
import numpy as np
import pytest
from rows import PAPER, Row
from setting import training_of

from histoseg.experiments import cerberus
from histoseg.runs.config import Data
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect


def test_images_have_as_many_nuclei_as_lizard(tmp_path):
    store, layout = connect(f"file://{tmp_path}"), cerberus.SCALES["paper"].data.layout
    made_up.put_cerberus(store, "paper", 512, 2)
    dataset = MetaDataset.open(store, made_up.CERBERUS, layout, tmp_path / "cache")
    found = np.mean(dataset.sources["lizard"].samples.num_objects) / 512**2
    # Graham et al. 2021: 495,179 nuclei in 291 images of 1016 x 917 on average
    assert found == pytest.approx(495_179 / 291 / (1016 * 917), rel=0.25)
    counts = {index.task.structure: len(index.rows()) for index in dataset.sources.values()}
    assert counts == {"gland": 6, "lumen": 6, "nuclei": 6, "tissue": 54}
    numbers = dataset.read_instances("lizard", 0)
    assert len(np.unique(numbers)) == dataset.sources["lizard"].samples.num_objects[0] + 1


def test_episodes_of_the_published_size_can_be_drawn():
    """8 + 8 images of different patients (MetaHistoSeg, Sec. 3.1), from all three splits."""
    assert 3 * PAPER.num_images >= 16
    assert PAPER.image_px >= Data().patch_px


@pytest.mark.parametrize(
    ("workload", "sources"),
    [
        ("Table 1, MAML", {"gleason2019", "breastpathq", "glas", "digestpath"}),
        ("Table 1, transfer", {"gleason2019", "breastpathq", "glas", "digestpath"}),
        ("Cerberus", set(made_up.CERBERUS)),
    ],
)
def test_trainings_are_those_of_the_experiments(setting, workload, sources):
    training = training_of(Row(workload=workload, doing="training", precision="bf16"), setting)
    assert set(training.dataset.sources) == sources
    assert training.stage.optim.precision == "bf16"
    names = {"Table 1, MAML": "Maml", "Table 1, transfer": "Transfer", "Cerberus": "MultiTask"}
    assert type(training.stage.method).__name__ == names[workload]
