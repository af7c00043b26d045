"""MILD-Net, Rota-Net, nnU-Net and Cellpose beside Cerberus: a training step, and the prediction of an image.

    python benchmarks/gland_networks.py

All learn glands and lumina, with contours where they can, at a quarter of the published width: Cerberus and MILD-Net
begin with 16 channels, Rota-Net with 4 features of four orientations, nnU-Net with 8 channels. The ratio says how many
times as long the other network takes. Table 3 trains a MILD-Net for each structure: the second line for it is of glands
alone. The same holds for nnU-Net. Cellpose, which begins with 8 channels, learns glands alone, if its package is there.

Last, one Cerberus of glands, lumina, nuclei, their classes and tissue beside the networks that it takes the place of.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from _timing import Finding, compare, interleaved, missing, one_thread, print_times, table

from histoseg.maps.windows import MarginWindows
from histoseg.methods.multitask import MultiTask
from histoseg.models.cellpose import CellposeSpec
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts
from histoseg.models.cerberus.network import build as build_cerberus
from histoseg.models.hovernet import HoVerNetSpec
from histoseg.models.hovernet.network import HoVerNetParts
from histoseg.models.hovernet.network import build as build_hovernet
from histoseg.models.mildnet import MildNetSpec
from histoseg.models.network import Network
from histoseg.models.nnunet import NNUNetSpec
from histoseg.models.rotanet import RotaNetSpec
from histoseg.runs import catalog
from histoseg.runs.extras import is_installed
from histoseg.types import MixedBatch, Task

WIDTH, BATCH, SIDE_PX, IMAGE_PX, NUM_ROUNDS, TRANSFORMATIONS = 16, 4, 192, 384, 7, 4
WINDOWS = MarginWindows(window_px=448, margin_px=32)
ALL_WINDOWS = MarginWindows(window_px=512, margin_px=64)  # HoVer-Net needs a margin of 56.
NUM_TYPES, NUM_TISSUES = 7, 9
SPECS: dict[str, CerberusSpec | MildNetSpec | RotaNetSpec | NNUNetSpec | CellposeSpec] = {
    "histoseg": CerberusSpec(width=WIDTH, contour=True),
    "MILD-Net": MildNetSpec(width=WIDTH),
    "MILD-Net of glands": MildNetSpec(width=WIDTH),
    "Rota-Net": RotaNetSpec(width=WIDTH // 4),
    "nnU-Net": NNUNetSpec(width=WIDTH // 2, patch_px=SIDE_PX, mirror=False),
}
OPTIONAL = {"Cellpose of glands": CellposeSpec(width=WIDTH // 2, enlarge=1)}
if is_installed("cellpose"):
    SPECS |= OPTIONAL


def tasks_of(name: str) -> dict[str, Task]:
    """What a network learns."""
    sources = ("cerberus_gland",) if name.endswith("of glands") else ("cerberus_gland", "cerberus_lumen")
    return {source: catalog.load("histoseg.sources", source).TASK for source in sources}


def draw_batch(rng: np.random.Generator, structures: tuple[str, ...]) -> MixedBatch:
    """Random patches; what they show changes no time."""
    size = (BATCH, SIDE_PX, SIDE_PX)
    owners = tuple(sorted(structures[i % len(structures)] for i in range(BATCH)))
    return MixedBatch(
        images=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        classes=rng.integers(0, 2, size, dtype=np.uint8),
        weights=np.ones(size, np.float32),
        maps=np.zeros((BATCH, 2, SIDE_PX, SIDE_PX), np.float32),  # Flows, which only Cellpose learns
        types=np.zeros(size, np.uint8),
        structures=owners,
        keys=("",) * BATCH,
        seeds=tuple(range(BATCH)),
        counts={name: owners.count(name) for name in dict.fromkeys(owners)},
    )


def compare_steps(networks: Mapping[str, Network], rng: np.random.Generator) -> list[Finding]:
    method = MultiTask(batch=BATCH)
    batches = {name: draw_batch(rng, tuple(task.structure for task in tasks_of(name).values())) for name in networks}

    def step(name: str) -> None:
        networks[name].zero_grad(set_to_none=True)
        method.backward(networks[name], batches[name])

    part = f"Cerberus+ of glands and lumina, a step of {BATCH} patches of {SIDE_PX}², width {WIDTH}"
    times = interleaved({name: partial(step, name) for name in networks}, NUM_ROUNDS)
    print(f"\n{part}")
    print_times(times)
    return compare(times, part, {})


def compare_predictions(networks: Mapping[str, Network], rng: np.random.Generator) -> list[Finding]:
    image = rng.integers(0, 256, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)
    sampled = f"MILD-Net, {TRANSFORMATIONS} transformations"
    specs = {
        **SPECS,
        sampled: MildNetSpec(width=WIDTH, transformations=TRANSFORMATIONS),
        "nnU-Net, mirrored": NNUNetSpec(width=WIDTH // 2, patch_px=SIDE_PX),
    }
    others = {sampled: networks["MILD-Net"], "nnU-Net, mirrored": networks["nnU-Net"]}
    found = {name: network.eval() for name, network in {**networks, **others}.items()}

    def predict(name: str) -> None:
        specs[name].predict(found[name], image, WINDOWS)  # type: ignore[arg-type]  # each has its own network

    calls = {name: partial(predict, name) for name in specs}
    part = f"Cerberus+ of glands and lumina, an image of {IMAGE_PX}² predicted, width {WIDTH}"
    times = interleaved(calls, NUM_ROUNDS)
    print(f"\n{part}")
    print_times(times)
    return compare(times, part, {})


def compare_one_with_several(rng: np.random.Generator) -> list[Finding]:
    """All that Cerberus finds in an image, by one network, and by a network for each (Cerberus, Secs. 4.3.1 and 5)."""
    cerberus = build_cerberus(
        CerberusParts(
            width=WIDTH, decoders={"gland": 2, "lumen": 2, "nuclei": 2, "nuclei_type": NUM_TYPES}, tissue=NUM_TISSUES
        ),
        0,
    )
    hovernet = build_hovernet(HoVerNetParts(width=WIDTH, num_types=NUM_TYPES), 0)
    mildnets = [
        MildNetSpec(width=WIDTH).build({name: catalog.load("histoseg.sources", name).TASK}, 0, 144)
        for name in ("cerberus_gland", "cerberus_lumen")
    ]
    several = (hovernet, *mildnets)
    for network in (cerberus, *several):
        network.eval()
    image = rng.integers(0, 256, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)

    def predict_by_several() -> None:
        HoVerNetSpec(width=WIDTH).predict(hovernet, image, ALL_WINDOWS)
        for network in mildnets:
            MildNetSpec(width=WIDTH).predict(network, image, ALL_WINDOWS)

    counts = [sum(value.numel() for network in own for value in network.parameters()) for own in ((cerberus,), several)]
    part = f"Cerberus of everything, {counts[0] / 1e6:.1f} M parameters, an image of {IMAGE_PX}², width {WIDTH}"
    reference = f"HoVer-Net and two MILD-Nets, {counts[1] / 1e6:.1f} M"
    calls: dict[str, Callable[[], object]] = {
        "histoseg": partial(CerberusSpec(width=WIDTH).predict, cerberus, image, ALL_WINDOWS),
        reference: predict_by_several,
    }
    times = interleaved(calls, NUM_ROUNDS)
    print(f"\n{part}")
    print_times(times)
    return compare(times, part, {})


def run() -> list[Finding]:
    """Steps, then predictions."""
    rng = np.random.default_rng(0)
    networks = {name: spec.build(tasks_of(name), 0, 144).train() for name, spec in SPECS.items()}
    for name, network in networks.items():
        print(f"{name}: {sum(parameter.numel() for parameter in network.parameters()):,} parameters")
    lacking = [
        missing("Cerberus+ of glands and lumina", name, "not installed") for name in OPTIONAL if name not in SPECS
    ]
    found = [*compare_steps(networks, rng), *compare_predictions(networks, rng), *compare_one_with_several(rng)]
    return [*found, *lacking]


if __name__ == "__main__":
    one_thread()
    print(table(run()))
