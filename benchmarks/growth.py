"""What a million samples, 1,000 shards, 256 ranks and 1,000 cells cost: every step that grows with them, timed.

    python benchmarks/growth.py [--samples 1000000]

Five sources share the samples equally. There is no reference, so each part has a budget, above which somebody would
feel it: an index is opened once a process, a step is drawn about once a second, a grid is planned once.
Memory is the highest that the process held above what it held before (Linux only).
"""

import argparse
import gc
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from _timing import Finding, forget_peak, one_thread, resident_bytes, table

from histoseg.experiments import table1
from histoseg.loaders.batches import BatchSampler
from histoseg.loaders.episodes import EpisodeSampler, TaskPool, pool_of
from histoseg.pipeline.plan import Plan, available
from histoseg.runs import catalog
from histoseg.runs.config import Run
from histoseg.shards.index import SourceIndex, encode_index, open_index
from histoseg.shards.reader import MetaDataset, ShardCache
from histoseg.shards.stored import Shard, ShardColumns, ShardPart
from histoseg.store.keys import index_key
from histoseg.store.objects import Store, connect
from histoseg.types import SPLITS, Place, Split

NUM_SAMPLES, NUM_SHARDS, NUM_CELLS = 1_000_000, 1000, 1000
TILES_AN_IMAGE, IMAGES_A_PATIENT = 10, 5
PLACE = Place(rank=255, world_size=256)
PATCHES_A_RANK, EPISODES_A_RANK, IMAGES_A_SIDE = 64, 4, 8  # One rank's share is a step of MetaHistoSeg, Sec. 3.1.
PATCH_PX = 768
LAYOUT = f"{PATCH_PX}px"
FIRST_STEP = 1000
TASKS = {source: catalog.load_source(source).TASK for source in table1.SOURCES}

Made = TypeVar("Made")


def run(num_samples: int = NUM_SAMPLES) -> list[Finding]:
    """Every part in the order in which a run comes by it."""
    findings: list[Finding] = []

    def measure(part: str, budget_s: float, call: Callable[[], Made]) -> Made:
        made, finding = measured(part, budget_s, call)
        findings.append(finding)
        return made

    with tempfile.TemporaryDirectory(prefix="histoseg-benchmark-") as name:
        store = connect(f"file://{name}")
        parts = {
            source: make_parts(task.num_classes, num_samples // len(TASKS), NUM_SHARDS // len(TASKS))
            for source, task in TASKS.items()
        }
        bodies = measure("encode five indexes", 20.0, partial(encode_all, parts))
        print(f"  {sum(map(len, bodies.values())) / 1e6:.0f} MB of JSON")
        for source, body in bodies.items():
            store.put(index_key(source, LAYOUT), body)
        del parts, bodies
        indexes = measure("open five indexes", 10.0, lambda: open_all(store))
        dataset = MetaDataset(sources=indexes, cache=ShardCache(store, Path(name) / "cache"))
    pools = measure("pools of episodes", 10.0, lambda: {source: pool_of(dataset, source) for source in indexes})
    draw_steps(measure, pools, {source: index.rows() for source, index in indexes.items()})
    runs = measure("1,000 runs of table 1", 5.0, lambda: make_runs(indexes))
    plan = Plan(experiment="table1", runs=tuple(runs), sources=indexes, absent=())
    groups = measure("group 1,000 runs by pretraining", 1.0, lambda: plan.groups)
    cells = measure("name 1,000 cells", 1.0, lambda: plan.cells)
    print(f"  {len(cells)} cells in {len(groups)} pretrainings")
    return findings


def measured(part: str, budget_s: float, call: Callable[[], Made]) -> tuple[Made, Finding]:
    """What the call gives, and how its time stands to the budget."""
    gc.collect()
    before = resident_bytes()
    forget_peak()
    start = time.perf_counter()
    made = call()
    seconds = time.perf_counter() - start
    note = f"{1000 * seconds:.1f} ms, {(resident_bytes('VmHWM') - before) / 1e6:.0f} MB"
    print(f"{part:44}{note}")
    reference = f"{1000 * budget_s:g} ms"
    return made, Finding(part=part, reference=reference, ratios=(budget_s / seconds,), goal=1.0, note=note)


def make_parts(num_classes: int, num_samples: int, num_shards: int) -> list[ShardPart]:
    """What `write_shard` returns for each shard of one source."""
    in_shard = num_samples // num_shards
    return [
        make_part(num_classes, number, in_shard, SPLITS[number * len(SPLITS) // num_shards])
        for number in range(num_shards)
    ]


def make_part(num_classes: int, number: int, in_shard: int, split: Split) -> ShardPart:
    rows = range(number * in_shard, (number + 1) * in_shard)
    images = [f"TCGA-{row // TILES_AN_IMAGE:08}-01Z" for row in rows]
    size = 3_500_000
    samples = ShardColumns(
        key=[f"{image}_y{row % TILES_AN_IMAGE:05}_x00000" for image, row in zip(images, rows, strict=True)],
        image=images,
        patient=[f"TCGA-{row // (TILES_AN_IMAGE * IMAGES_A_PATIENT):08}" for row in rows],
        top=[1177 * (row % TILES_AN_IMAGE) for row in rows],
        left=[0] * in_shard,
        height=[1177] * in_shard,
        width=[1190] * in_shard,
        image_offset=[size * i + 1664 for i in range(in_shard)],
        map_offset=[size * i + 3_400_000 for i in range(in_shard)],
        instance_offset=[-1] * in_shard,
        mpp=[0.5] * in_shard,
        num_objects=[0] * in_shard,
        class_pixels=[[700_000 + row, *[500_000 - row % 1000] * (num_classes - 1)] for row in rows],
    )
    shard = Shard(
        name=f"made-up-{split}-{number:05}-01234567.tar",
        split=split,
        sha256=f"{number:064x}",
        num_bytes=size * in_shard,
        num_samples=in_shard,
    )
    return ShardPart(shard=shard, samples=samples)


def encode_all(parts: dict[str, list[ShardPart]]) -> dict[str, bytes]:
    return {
        source: encode_index(TASKS[source], own, origin="demo", layout=LAYOUT, tile_px=PATCH_PX, options={})
        for source, own in parts.items()
    }


def open_all(store: Store) -> dict[str, SourceIndex]:
    return {source: open_index(store, source, LAYOUT) for source in table1.SOURCES}


def draw_steps(measure: Callable[..., Any], pools: dict[str, TaskPool], rows: dict[str, np.ndarray]) -> None:
    """The share of the last of 256 ranks, first in the middle of a run and then the step after it."""
    episodes = EpisodeSampler(
        pools=pools,
        weights={},
        support=IMAGES_A_SIDE,
        query=IMAGES_A_SIDE,
        episodes=EPISODES_A_RANK * PLACE.world_size,
        seed=0,
    )
    batches = BatchSampler(rows=rows, batch=PATCHES_A_RANK * PLACE.world_size, seed=0)
    for name, steps in (
        ("four episodes", episodes.steps(PLACE, FIRST_STEP)),
        ("64 patches", batches.steps(FIRST_STEP, PLACE)),
    ):
        for which, budget_s in (("first", 1.0), ("next", 0.05)):
            (plans,) = measure(f"draw {name}, {which} step", budget_s, lambda steps=steps: list(islice(steps, 1)))
            print(f"  {len(plans)} plans for rank {PLACE.rank} of {PLACE.world_size}")


def make_runs(indexes: dict[str, SourceIndex]) -> list[Run]:
    sources = available(indexes)
    per_seed = len(table1.runs("paper", 1, sources))
    return table1.runs("paper", math.ceil(NUM_CELLS / per_seed), sources)[:NUM_CELLS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=NUM_SAMPLES)
    print(table(run(parser.parse_args().samples)))


if __name__ == "__main__":
    one_thread()
    main()
