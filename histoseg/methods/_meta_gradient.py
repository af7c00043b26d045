"""The meta-gradient of an episode, as derived at the top of `maml.py`."""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.func import functional_call

from histoseg.models.losses import cross_entropy_per_image
from histoseg.models.tensors import device_of, to_tensors
from histoseg.models.unet.network import UNet, names_for, statistics_kept
from histoseg.types import Episode, Patches

Weights = dict[str, Tensor]


def meta_gradient(
    model: UNet, episode: Episode, *, inner_lr: float, inner_steps: int, first_order: bool, micro_batch: int
) -> tuple[float, Weights]:
    """The query loss after adaptation, and its gradient by the weights before it; arguments are fields of `Maml`."""
    used = set(names_for(model, [episode.task]))
    weights = {name: leaf(p) for name, p in model.named_parameters() if name in used}
    path: list[tuple[Weights, Weights]] = []
    for step in range(inner_steps):
        # Running statistics come from support images at the shared weights, and from nothing else.
        with statistics_kept(model) if step else nullcontext():
            support = model, weights, episode.support, episode.task
            keep_graph = not (first_order or micro_batch)
            _, slopes = _mean_gradient(*support, size=micro_batch, keep_graph=keep_graph)
        path.append((weights, slopes))
        weights = {name: leaf(weights[name] - inner_lr * slopes[name]) for name in weights}
    with statistics_kept(model):
        loss, gradient = _mean_gradient(model, weights, episode.query, episode.task, size=micro_batch)
        if not first_order:
            for before, slopes in reversed(path):
                curved = _hessian_product(model, before, slopes, gradient, episode, size=micro_batch)
                gradient = {name: gradient[name] - inner_lr * curved[name] for name in gradient}
    return loss, gradient


def leaf(tensor: Tensor) -> Tensor:
    """The same numbers as the start of a new graph."""
    return tensor.detach().requires_grad_()


def mean_loss(model: UNet, weights: Weights, patches: Patches, task: str) -> Tensor:
    """Mean cross-entropy over patches of the model with other weights; the model's own are not touched."""
    images, semantic_maps = to_tensors(patches, device_of(model))
    return cross_entropy_per_image(functional_call(model, weights, (images, task)), semantic_maps).mean()


def _mean_gradient(
    model: UNet, weights: Weights, patches: Patches, task: str, *, size: int, keep_graph: bool = False
) -> tuple[float, Weights]:
    """The mean loss over patches at some weights, and its gradient, a micro-batch of `size` at a time."""
    value, total = 0.0, Weights()
    for part in patches.parts(size):
        loss = mean_loss(model, weights, part, task) * (len(part.tasks) / len(patches.tasks))
        slopes = _gradient(loss, weights, create_graph=keep_graph)
        value += float(loss.detach())
        total = {name: total[name] + slopes[name] if total else slopes[name] for name in slopes}
    return value, total


def _hessian_product(
    model: UNet, weights: Weights, slopes: Weights, vector: Weights, episode: Episode, *, size: int
) -> Weights:
    """∇²S · vector at some weights: the gradient of ∇S · vector."""
    if not size:
        return _product(slopes, weights, vector)
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    for part in episode.support.parts(size):
        loss = mean_loss(model, weights, part, episode.task) * (len(part.tasks) / len(episode.support.tasks))
        curved = _product(_gradient(loss, weights, create_graph=True), weights, vector)
        total = {name: total[name] + curved[name] for name in total}
    return total


def _gradient(loss: Tensor, weights: Weights, *, create_graph: bool = False) -> Weights:
    slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph)
    return dict(zip(weights, slopes, strict=True))


def _product(slopes: Weights, weights: Weights, vector: Weights) -> Weights:
    """The gradient of slopes · vector by the weights."""
    names = list(weights)
    curved = torch.autograd.grad(
        [slopes[name] for name in names],
        [weights[name] for name in names],
        grad_outputs=[vector[name] for name in names],
        materialize_grads=True,
    )
    return dict(zip(names, curved, strict=True))
