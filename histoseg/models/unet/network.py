"""U-Net (Ronneberger et al. 2015) with a head per task: the backbone of MetaHistoSeg, Sec. 3.1.

As in the published code: two 3×3 convolutions without bias per block, each with normalisation and ReLU; 2×2 pooling;
2×2 transposed convolutions; skips concatenated. With width 32 the body has 7,763,008 parameters.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.models.network import Network, innermost_channels

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's constants; the published code normalises with them.
IMAGENET_STD = (0.229, 0.224, 0.225)
LEVELS = 4


class UNet(Network):
    """Logits of one task from RGB images; `heads` holds a 1×1 convolution per task."""

    has_depths = True  # See `histoseg.representation.pool.Encoding`.

    def __init__(self, width: int, norm: str, num_classes: Mapping[str, int]) -> None:
        super().__init__()
        self.width, self.norm = width, norm
        widths = [width * 2**level for level in range(LEVELS + 1)]
        self.down = nn.ModuleList(_block(before, after, norm) for before, after in pairwise([3, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(after, before, 2, stride=2) for before, after in pairwise(widths))
        self.merge = nn.ModuleList(_block(2 * before, before, norm) for before in widths[:-1])
        self.heads = nn.ModuleDict({task: nn.Conv2d(width, count, 1) for task, count in num_classes.items()})

    def forward(self, images: UInt8[Tensor, "B H W 3"], task: str) -> Float[Tensor, "B C H W"]:
        """Logits of one task for images as stored; height and width must be multiples of 16."""
        logits: Tensor = self.heads[task](self.features(images))
        return logits

    def num_classes(self, task: str) -> int:
        """How many classes a task's head predicts."""
        head = self.heads[task]
        return len(head.get_parameter("bias"))

    def features(self, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B F H W"]:
        """What all heads see; with `bf16` set, computed in bfloat16 where that is safe and handed on in float32."""
        if not self.bf16:
            return self._features(normalise(images).to(next(self.parameters()).dtype))
        with torch.autocast(images.device.type, torch.bfloat16):
            return self._features(normalise(images)).float()

    def compile_parts(self) -> None:
        vars(self).update(features=torch.compile(self.features))

    def interpret_parts(self) -> None:
        vars(self).pop("features", None)

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> list[Tensor]:
        """Features of the way down at each level (B, channels, rows, columns), from the finest to the coarsest."""
        return self._encode(normalise(images).to(next(self.parameters()).dtype))

    def _encode(self, x: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        levels = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            levels.append(x)
        return levels

    def _features(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F H W"]:
        skips = self._encode(x)
        x = skips.pop()
        for level in reversed(range(LEVELS)):
            x = self.merge[level](torch.cat([self.up[level](x), skips[level]], dim=1))
        features: Tensor = x
        return features


def normalise(images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """Images as the network wants them: channels first, ImageNet's mean and deviation removed."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def build(width: int, norm: str, num_classes: Mapping[str, int], seed: int) -> UNet:
    """A new network, the same for the same seed; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UNet(width, norm, num_classes)
    innermost_channels(model)
    return model


def with_new_heads(model: UNet, num_classes: Mapping[str, int], seed: int) -> UNet:
    """A copy of the body with fresh heads: where refining on a new task begins."""
    fresh = build(model.width, model.norm, num_classes, seed)
    body = {name: value for name, value in model.state_dict().items() if not name.startswith("heads.")}
    fresh.load_state_dict(body, strict=False)
    return fresh


def names_for(model: nn.Module, tasks: Iterable[str]) -> list[str]:
    """The parameters that some tasks use: the body's and those tasks' heads."""
    heads = tuple(f"heads.{task}." for task in tasks)
    return [name for name, _ in model.named_parameters() if not name.startswith("heads.") or name.startswith(heads)]


def _block(before: int, after: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (before, after):
        layers += [nn.Conv2d(inputs, after, 3, padding=1, bias=False), _norm(norm, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _norm(norm: str, channels: int) -> nn.Module:
    if norm == "group":
        return nn.GroupNorm(min(32, channels // 4), channels)  # 32 groups as in Wu & He 2018, fewer when narrow
    return nn.BatchNorm2d(channels) if norm == "batch" else LaggingBatchNorm(channels)


class LaggingBatchNorm(nn.BatchNorm2d):
    """Normalises by the statistics of earlier batches, also in training: images of a batch do not see each other."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:  # noqa: A002  # torch's name
        """The input, normalised; in training its statistics are then averaged into the running ones."""
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        before = mean.clone(), variance.clone()
        if self.training and self.momentum:
            with torch.no_grad():
                mean.lerp_(input.to(mean.dtype).mean(dim=(0, 2, 3)), self.momentum)
                variance.lerp_(input.to(mean.dtype).var(dim=(0, 2, 3), correction=0), self.momentum)
        return nn.functional.batch_norm(input, *before, self.weight, self.bias, False, 0.0, self.eps)


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Within, forwards leave running statistics as they are."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
