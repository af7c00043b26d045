"""How deep and wide nnU-Net is for patches of a size (Isensee et al. 2021, its rules for the topology in 2D)."""

from histoseg.runs.config import require

LEAST_CELLS = 4  # Side of the smallest features: patches are halved as long as no less is left.
WIDEST = 16  # Channels are doubled until there are so many times the first ones: 512, with 32.


def num_stages_of(patch_px: int) -> int:
    """How many sizes of features there are, that of the patch included."""
    count, side = 1, patch_px
    while side / 2 >= LEAST_CELLS:
        count, side = count + 1, side // 2
    return count


def stride_of(num_stages: int) -> int:
    """How many pixels one of the smallest features stands for."""
    return 1 << (num_stages - 1)


def widths_of(width: int, num_stages: int) -> list[int]:
    """Channels of the features, the largest first."""
    return [width * min(2**level, WIDEST) for level in range(num_stages)]


def require_patch(patch_px: int) -> None:
    """Nothing, if the network can take patches of that side without a change of their size."""
    require(patch_px >= 2 * LEAST_CELLS, "network.patch_px", patch_px, f"{2 * LEAST_CELLS} or more")
    stride = stride_of(num_stages_of(patch_px))
    rule = f"a multiple of {stride}, by which nnU-Net divides patches of that size"
    require(patch_px % stride == 0, "network.patch_px", patch_px, rule)
