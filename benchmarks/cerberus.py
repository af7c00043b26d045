"""A training step of Cerberus against the obvious one, which runs every decoder on every patch of every step.

    python benchmarks/cerberus.py

Patches of 128 pixels, a ResNet34 of width 16, twelve patches: what a core does in a second. Shares of the work between
encoder and decoders do not depend on the width. Gradients of both ways are compared first, in evaluation mode, where
batch statistics, which the ways share out differently, stay out of it. The last lines say how long a training of the
scale real-cpu waits for its loader, as a share of its time.
"""

import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from _timing import Finding, compare, interleaved, one_thread, print_times, table

from histoseg.demo.write import find_demo
from histoseg.experiments import cerberus
from histoseg.methods.multitask import MultiTask
from histoseg.models.cerberus.network import Cerberus, CerberusParts, build
from histoseg.models.losses import weighted_cross_entropy_per_image
from histoseg.pipeline.plan import available
from histoseg.shards.prepare import prepare_sources
from histoseg.shards.reader import MetaDataset
from histoseg.shards.writer import Recipe
from histoseg.store.objects import connect
from histoseg.training.method import method_of
from histoseg.types import MixedBatch, Place

STRUCTURES: tuple[str, ...] = ("gland", "lumen", "nuclei")
SIDE_PX, BATCH, WIDTH, NUM_ROUNDS = 128, 12, 16, 7
SOURCES = ("cerberus_gland", "cerberus_lumen", "lizard")
NUM_STEPS = 12


def run() -> list[Finding]:
    """Steps with all structures and with one absent, then the loader."""
    findings = []
    for present, goal in ((STRUCTURES, 1.0), (STRUCTURES[:2], 1.3)):
        findings += compare_steps(present, goal)
    return [*findings, measure_wait()]


def compare_steps(present: tuple[str, ...], goal: float) -> list[Finding]:
    parts = CerberusParts(width=WIDTH, decoders=dict.fromkeys(STRUCTURES, 2))
    model, method, batch = build(parts, 0), MultiTask(batch=BATCH), draw_batch(present)
    model.eval()
    check_gradients(model, method, batch)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)

    def ours() -> None:
        optimizer.zero_grad(set_to_none=True)
        method.backward(model, batch)
        optimizer.step()

    def obvious() -> None:
        optimizer.zero_grad(set_to_none=True)
        backward_obvious(model, batch)
        optimizer.step()

    reference = "every decoder on every patch"
    times = interleaved({"histoseg": ours, reference: obvious}, NUM_ROUNDS)
    part = f"Cerberus step, {len(present)} of {len(STRUCTURES)} structures in the batch"
    print(f"\n{part}: gradients equal")
    print_times(times)
    return compare(times, part, {reference: goal})


def draw_batch(present: tuple[str, ...]) -> MixedBatch:
    rng, size = np.random.default_rng(0), (BATCH, SIDE_PX, SIDE_PX)
    structures = tuple(sorted(present[i % len(present)] for i in range(BATCH)))
    return MixedBatch(
        images=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        classes=rng.integers(0, 2, size, dtype=np.uint8),
        weights=rng.uniform(1, 11, size).astype(np.float32),
        types=np.zeros(size, np.uint8),
        structures=structures,
        keys=("",) * BATCH,
        seeds=tuple(range(BATCH)),
        counts={name: structures.count(name) for name in dict.fromkeys(structures)},
    )


def backward_obvious(model: Cerberus, batch: MixedBatch) -> float:
    """All decoders on all patches, losses masked with zeros: Cerberus, Sec. 3.2.2, to the letter."""
    features = model.encode(torch.from_numpy(batch.images))
    classes, weights = torch.from_numpy(batch.classes).long(), torch.from_numpy(batch.weights)
    total = torch.zeros(())
    for structure in STRUCTURES:
        mask = torch.tensor([float(owner == structure) for owner in batch.structures])
        losses = weighted_cross_entropy_per_image(model.decode(features, structure), classes, weights)
        total = total + (losses * mask).sum() / mask.sum().clamp(min=1)
    total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return float(total.detach())


def check_gradients(model: Cerberus, method: MultiTask, batch: MixedBatch) -> None:
    """Stop unless both ways agree; a decoder that is absent has gradients of zero in one and none in the other."""
    found: list[Mapping[str, torch.Tensor]] = []
    for backward in (method.backward, backward_obvious):
        model.zero_grad(set_to_none=True)
        backward(model, batch)
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    for name, value in found[1].items():
        torch.testing.assert_close(found[0].get(name, torch.zeros_like(value)), value, rtol=1e-3, atol=1e-5)


def measure_wait() -> Finding:
    """Steps of the scale real-cpu on demo data: time computing over time waiting for patches, 1 core for each."""
    sizes = cerberus.SCALES["real-cpu"]
    with tempfile.TemporaryDirectory(prefix="histoseg-benchmark-") as name, ThreadPoolExecutor(1) as pool:
        raw, store = Path(name) / "raw", connect(f"file://{name}/store")
        for source in SOURCES:
            if (write_demo := find_demo(source)) is not None:
                write_demo(raw, np.random.default_rng(0))
        prepare_sources(SOURCES, raw, store, Recipe(data=sizes.data), pool, strict=True)
        opened = MetaDataset.open(store, SOURCES, sizes.data.layout, Path(name) / "cache")
        (run,) = cerberus.runs("real-cpu", 1, available(opened.sources))
        dataset, method = opened.select(run.stages[0].select, run.seed), method_of(run.stages[0])
        tasks = {source: index.task for source, index in dataset.sources.items()}
        model = method.network(run, tasks, None, run.seed)
        batches = method.batches(dataset, run, seed=run.seed, place=Place(), first_step=0)
        waited, spent = [], []
        for _ in range(NUM_STEPS + 2):
            begin = time.perf_counter()
            batch = next(batches)
            waited.append(time.perf_counter() - begin)
            model.zero_grad(set_to_none=True)
            method.backward(model, batch)
            spent.append(time.perf_counter() - begin)
        del batches
    share = sum(waited[2:]) / sum(spent[2:])
    print(f"\nloader: {share:.1%} of the time of a step is waiting")
    ratios = tuple(total / max(wait, 1e-6) for total, wait in zip(thirds(spent), thirds(waited), strict=True))
    return Finding(
        part="a step over its wait for the loader", reference="waiting 5 % of it (= 20)", ratios=ratios, goal=20
    )


def thirds(seconds: list[float]) -> list[float]:
    """Means over thirds of the measured steps, which leave out the first two."""
    third = NUM_STEPS // 3
    return [float(np.mean(seconds[2 + i * third : 2 + (i + 1) * third])) for i in range(3)]


if __name__ == "__main__":
    one_thread()
    print(table(run()))
