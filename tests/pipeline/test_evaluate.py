"""Which images a rank reads to score a split: its own, one at a time."""

import numpy as np

from histoseg.models.unet.network import build
from histoseg.pipeline import evaluate
from histoseg.shards.reader import MetaDataset
from histoseg.training.process import Process
from histoseg.types import Place


def test_a_rank_reads_its_share_of_the_images_when_it_comes_to_them(dataset, tiny_run, monkeypatch):
    images = dataset.images("monuseg", "test")
    assert len(images) > 1
    whole_image, score, happened = MetaDataset.whole_image, evaluate.score, []

    def read(self, source, rows):
        sample = whole_image(self, source, rows)
        happened.append(("read", sample.key))
        return sample

    def scored(*given):
        for sample, predicted, counts in score(*given):
            happened.append(("scored", sample.key))
            yield sample, predicted, counts

    monkeypatch.setattr(MetaDataset, "whole_image", read)
    monkeypatch.setattr(evaluate, "score", scored)
    model = build(tiny_run.model.width, tiny_run.model.norm, {"monuseg": 2}, 0)
    shares = []
    for rank in (0, 1):
        process = Process(place=Place(rank=rank, world_size=2))
        shares.append(evaluate._confusions(model, tiny_run, dataset, "test", process))
        own = list(images)[rank::2]
        assert happened == [(what, key) for key in own for what in ("read", "scored")]
        happened.clear()
    alone = evaluate._confusions(model, tiny_run, dataset, "test", Process())
    np.testing.assert_array_equal(np.add(*shares), alone)
