"""One second-order MAML step: ours against plain autograd, `higher` and learn2learn, in time and in memory.

    python benchmarks/maml.py [--size 256] [--rounds 5]

A U-Net of width 16 with group normalisation, one episode of 4 + 4 images, one inner step. Each competitor computes the
meta-gradient of the same loss; in float64, on 32² pixels, all must agree to 1e-5. Memory, for 8 + 8 images, is what a
process of its own holds at its highest above what it held before the step (Linux only).
"""

import argparse
import json
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _timing import (
    Finding,
    compare,
    forget_peak,
    in_own_process,
    interleaved,
    missing,
    one_thread,
    print_times,
    ratios,
    resident_bytes,
    table,
)
from torch import Tensor

from histoseg.methods._meta_gradient import mean_loss
from histoseg.methods.maml import Maml
from histoseg.models.losses import cross_entropy_per_image
from histoseg.models.tensors import to_tensors
from histoseg.models.unet.network import UNet, build
from histoseg.types import Episode, Patches

TASK, NUM_IMAGES, NUM_CLASSES = "task", 4, 3
MEMORY_IMAGES = 8  # As in MetaHistoSeg, Sec. 3.1; what micro-batches save grows with the number of images.
INNER_LR = 0.01
SIZES_PX, MEMORY_PX, NUM_ROUNDS = (64, 128), 128, 3
Gradient = dict[str, Tensor]
Step = Callable[[UNet, Episode], Gradient]


def ours(method: Maml, model: UNet, episode: Episode) -> Gradient:
    return method.meta_gradient(model, episode)[1]


def plain_autograd(model: UNet, episode: Episode) -> Gradient:
    """Finn et al. 2017 as torch's manual would write it: differentiate through the inner step."""
    weights: Gradient = dict(model.named_parameters())
    loss = mean_loss(model, weights, episode.support, TASK)
    slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    fast = {name: value - INNER_LR * slope for (name, value), slope in zip(weights.items(), slopes, strict=True)}
    outer = mean_loss(model, fast, episode.query, TASK)
    return dict(zip(weights, torch.autograd.grad(outer, list(weights.values())), strict=True))


def by_higher(model: UNet, episode: Episode) -> Gradient:
    import higher  # type: ignore[import-not-found]  # an optional reference

    optimizer = torch.optim.SGD(model.parameters(), lr=INNER_LR)
    with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (fast, inner):
        inner.step(module_loss(fast, episode.support))
        slopes = torch.autograd.grad(module_loss(fast, episode.query), list(model.parameters()))
    return dict(zip(dict(model.named_parameters()), slopes, strict=True))


def by_learn2learn(model: UNet, episode: Episode) -> Gradient:
    from learn2learn.algorithms.maml import MAML  # type: ignore[import-not-found]  # likewise

    learner = MAML(model, lr=INNER_LR).clone()
    learner.adapt(module_loss(learner, episode.support))
    slopes = torch.autograd.grad(module_loss(learner, episode.query), list(model.parameters()))
    return dict(zip(dict(model.named_parameters()), slopes, strict=True))


def module_loss(module: torch.nn.Module, patches: Patches) -> Tensor:
    images, semantic_maps = to_tensors(patches, torch.device("cpu"))
    return cross_entropy_per_image(module(images, TASK), semantic_maps).mean()


STEPS: dict[str, Step] = {
    "histoseg": partial(ours, Maml(inner_lr=INNER_LR)),
    "plain autograd": plain_autograd,
    "higher": by_higher,
    "learn2learn": by_learn2learn,
}
FIRST_ORDER: Step = partial(ours, Maml(inner_lr=INNER_LR, first_order=True))
MICRO: Step = partial(ours, Maml(inner_lr=INNER_LR, micro_batch=1))


def run(memory_px: int = MEMORY_PX, rounds: int = NUM_ROUNDS) -> list[Finding]:
    """Agreement, then time at two sizes, then memory."""
    steps, findings = check_agreement()
    for size_px in SIZES_PX:
        model, episode = make_model(), draw_episode(size_px)
        calls = {name: partial(step, model, episode) for name, step in steps.items()}
        times = interleaved(calls | {"first order": partial(FIRST_ORDER, model, episode)}, rounds)
        print(f"\none episode of 4 + 4 images of {size_px}x{size_px}; meta-gradients agree")
        print_times(times)
        part = f"MAML step, second order, {size_px}²"
        findings += compare({name: times[name] for name in steps}, part, dict.fromkeys(steps, 1.0))
        part = f"MAML step, first order, {size_px}²"
        findings.append(
            Finding(part=part, reference="our second order", ratios=ratios(times, "histoseg", "first order"))
        )
        if "learn2learn" in steps:
            theirs, name = ratios(times, "learn2learn", "first order"), "learn2learn, second order"
            findings.append(Finding(part=part, reference=name, ratios=theirs, goal=2.2))
    return findings + compare_memory(memory_px, rounds, [name for name in steps if name != "histoseg"])


def check_agreement() -> tuple[dict[str, Step], list[Finding]]:
    """The competitors that are installed, after a check that their meta-gradients are equal; a line for the others."""
    model, episode = make_model().double(), draw_episode(32)
    wanted = flat(STEPS["histoseg"](model, episode))
    steps, findings = dict(STEPS), []
    for name, step in {**STEPS, "micro-batches": MICRO}.items():
        try:
            found = flat(step(model, episode))
        except ImportError as error:
            findings.append(missing("MAML step, second order", name, error))
            del steps[name]
            continue
        gap = float((found - wanted).norm() / wanted.norm())
        print(f"{name}: meta-gradient differs by {gap:.1e} of its length")
        if gap > 1e-5:
            raise SystemExit(f"{name} computes another meta-gradient")
    if torch.allclose(flat(FIRST_ORDER(model, episode)), wanted, rtol=1e-5):
        raise SystemExit("the second derivatives make no difference here: nothing was checked")
    return steps, findings


def compare_memory(size_px: int, rounds: int, others: list[str]) -> list[Finding]:
    """Peak memory and time of micro-batches of one image, against our default and the others."""
    part, answers = f"MAML memory, micro_batch=1, {size_px}²", {}
    for name in ("micro-batches", "histoseg", *others):
        answers[name] = in_own_process(__file__, ["--alone", name, "--size", str(size_px)])
        print(f"{name}: {answers[name]['bytes'] / 1e6:.0f} MB at {size_px}x{size_px}")
    micro = answers.pop("micro-batches")
    answers["our default"] = answers.pop("histoseg")
    findings = [
        Finding(part=part, reference=name, ratios=(answer["bytes"] / micro["bytes"],), goal=8.0)
        for name, answer in answers.items()
    ]
    model, episode = make_model(), draw_episode(size_px, MEMORY_IMAGES)
    calls = {"histoseg": partial(MICRO, model, episode), "our default": partial(STEPS["histoseg"], model, episode)}
    times = interleaved(calls, rounds)
    return findings + compare(times, f"MAML time, micro_batch=1, {size_px}²", {"our default": 0.75})


def measure_alone(name: str, size_px: int) -> None:
    """Print, as JSON, how much memory one step takes; a first small step loads what any step needs."""
    step = MICRO if name == "micro-batches" else STEPS[name]
    model, episode = make_model(), draw_episode(size_px, MEMORY_IMAGES)
    step(model, draw_episode(32))
    before = resident_bytes()
    forget_peak()
    step(model, episode)
    print(json.dumps({"bytes": resident_bytes("VmHWM") - before}))


def make_model() -> UNet:
    return build(16, "group", {TASK: NUM_CLASSES}, seed=0)


def draw_episode(size_px: int, num_images: int = NUM_IMAGES) -> Episode:
    support, query = (draw_patches(size_px, num_images, np.random.default_rng(seed)) for seed in (1, 2))
    return Episode(task=TASK, support=support, query=query)


def draw_patches(size_px: int, num_images: int, rng: np.random.Generator) -> Patches:
    return Patches(
        images=rng.integers(0, 256, (num_images, size_px, size_px, 3), dtype=np.uint8),
        semantic_maps=rng.integers(0, NUM_CLASSES, (num_images, size_px, size_px), dtype=np.uint8),
        tasks=(TASK,) * num_images,
        keys=tuple(map(str, range(num_images))),
    )


def flat(gradient: Gradient) -> Tensor:
    return torch.cat([gradient[name].reshape(-1) for name in sorted(gradient)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=MEMORY_PX, help="side of the patches whose memory is measured")
    parser.add_argument("--rounds", type=int, default=NUM_ROUNDS)
    parser.add_argument("--alone", choices=[*STEPS, "micro-batches"], help="only the memory of this, in this process")
    options = parser.parse_args()
    if options.alone:
        measure_alone(options.alone, options.size)
    else:
        print(table(run(options.size, options.rounds)))


if __name__ == "__main__":
    one_thread()
    main()
