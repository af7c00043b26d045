"""Where a report finds no record, it says with which settings there are some."""

from dataclasses import replace

import pytest

from histoseg.methods.transfer import Transfer
from histoseg.models.unet import UNetSpec
from histoseg.records.write import put_record
from histoseg.report.settings import describe_settings
from histoseg.runs.config import Data, Optim, Run, Select, Stage
from histoseg.runs.names import override, to_json
from histoseg.scoring.pixels import Pixels
from histoseg.store.objects import connect
from tests.report.records import make_record

RUN = Run(
    experiment="smoke",
    scale="laptop",
    row="glas",
    column="synthetic.maml",
    data=Data(),
    network=UNetSpec(),
    stages=tuple(
        Stage(label=label, method=Transfer(), select=Select(sources=("glas",), splits=("train",)), optim=Optim())
        for label in ("pretrain", "refine")
    ),
    score=Select(sources=("glas",), splits=("test",)),
    evaluator=Pixels(),
)


@pytest.fixture
def describe(tmp_path):
    """What is said of records of some runs, where RUN was asked for."""
    store = connect(f"file://{tmp_path / 'store'}")

    def describe(*runs):
        for number, run in enumerate(runs):
            record = make_record()
            put_record(
                record.model_copy(update={"name": f"{number}", "experiment": "smoke", "run": to_json(run)}), store
            )
        return describe_settings("smoke", [RUN], store)

    return describe


def test_each_setting_is_named_as_it_is_typed(describe):
    first = override(override(RUN, "optim.steps=7"), "refine.optim.lr=0.01")
    second = override(RUN, "network.width=8")
    assert describe(first, second, second) == [
        "2 records of smoke are there with --set network.width=8",
        "1 records of smoke are there with --set optim.steps=7 --set refine.optim.lr=0.01",
    ]


def test_other_scales_seeds_and_shards_are_named_as_such(describe):
    lines = describe(replace(RUN, scale="paper"), replace(RUN, seed=3), RUN)
    assert any(line.endswith("are there with --scale paper") for line in lines)
    assert any("seeds that are not planned here" in line for line in lines)
    assert any("other shards: the sources were prepared again since" in line for line in lines)


def test_without_records_nothing_is_said(describe):
    assert describe() == []
