"""Group convolutions: against sums written out, by a rotation worked by hand, and turned images."""

import numpy as np
import pytest
import torch

from histoseg.models.rotanet.group import (
    GroupConvolution,
    Lifting,
    OrientationNorm,
    draw_weights,
    pool_orientations,
)


def drawn(module, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        draw_weights(module)
    return module.double()


def features(seed=1, shape=(2, 12, 8, 8)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turn_features(x, turns=1):
    """What features become when the image turns: maps turn, and each takes the place of the next orientation."""
    return torch.rot90(x, turns, (2, 3)).unflatten(1, (-1, 4)).roll(turns, 2).flatten(1, 2)


def test_a_filter_is_lifted_to_its_four_rotations():
    """By hand: a filter that looks at the pixel to the right, turned by 90° anticlockwise, looks at the one above.

    So from one bright pixel the four maps light up left of it, below, right and above: where it is seen from.
    """
    lifting = Lifting(1, 1, 3)
    lifting.weight.data = torch.tensor([[[[0.0, 0, 0], [0, 0, 1], [0, 0, 0]]]])
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1
    found = lifting(image)[0]
    assert [np.argwhere(each.detach().numpy()).tolist() for each in found] == [[[2, 1]], [[3, 2]], [[2, 3]], [[1, 2]]]


def test_a_group_convolution_is_the_sum_it_is_defined_as():
    """Cohen & Welling 2016, Eq. 11, written out: output r at x sums input s at y over the filter's map s - r at
    r^-1 (y - x), by loops over pixels and nothing of torch's convolutions."""
    layer, x = drawn(GroupConvolution(2, 1)), features(shape=(1, 8, 4, 4))
    weight = layer.weight.detach()[0].numpy()  # Features before, orientations, rows, columns
    padded = np.pad(x[0].numpy().reshape(2, 4, 4, 4), ((0, 0), (0, 0), (1, 1), (1, 1)))
    found = layer(x)[0].detach().numpy()
    for r in range(4):
        for row, column in np.ndindex(4, 4):
            total = 0.0
            for i, s, down, right in np.ndindex(2, 4, 3, 3):
                # Steps of the filter in its own frame: turned back by r quarter turns (rows go down).
                y, z = down - 1, right - 1
                for _ in range(r):
                    y, z = z, -y
                total += weight[i, (s - r) % 4, y + 1, z + 1] * padded[i, s, row + down, column + right]
            assert found[r, row, column] == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_features_turn_with_the_image(turns, kernel):
    image = features(shape=(2, 3, 8, 8))
    lifting, convolution, norm = (
        drawn(layer) for layer in (Lifting(3, 3, kernel), GroupConvolution(3, 2, kernel), OrientationNorm(2))
    )
    norm.weight.data, norm.bias.data = features(2, (2,)), features(3, (2,))

    def see(x):
        return norm(convolution(torch.relu(lifting(x))))

    turned = see(torch.rot90(image, turns, (2, 3)))
    torch.testing.assert_close(turned, turn_features(see(image), turns), rtol=0, atol=1e-12)
    pooled = pool_orientations(turned)
    torch.testing.assert_close(pooled, torch.rot90(pool_orientations(see(image)), turns, (2, 3)), rtol=0, atol=1e-12)


def test_features_do_not_turn_with_a_mirror_image():
    """p4 has no reflections, so that the test above is not passed by filters that see no direction at all."""
    image, lifting = features(shape=(1, 3, 8, 8)), drawn(Lifting(3, 2, 3))
    assert not torch.allclose(pool_orientations(lifting(image.flip(3))), pool_orientations(lifting(image)).flip(3))


def test_a_norm_has_one_mean_and_variance_for_all_orientations_of_a_feature():
    """Against numpy's over images, orientations and pixels; running ones move by torch's tenth."""
    norm, x = OrientationNorm(3).double(), 5 + 2 * features()
    found = norm(x).detach().numpy().reshape(2, 3, 4, 8, 8)
    values = x.numpy().reshape(2, 3, 4, 8, 8)
    mean, variance = (f(values, axis=(0, 2, 3, 4)) for f in (np.mean, np.var))
    wanted = (values - mean[None, :, None, None, None]) / np.sqrt(variance + 1e-5)[None, :, None, None, None]
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * mean, rtol=1e-9)


def test_pooling_takes_the_largest_of_four_orientations():
    x = torch.arange(8.0).reshape(1, 8, 1, 1).flip(1)
    assert pool_orientations(x).flatten().tolist() == [7, 3]


def test_first_weights_keep_the_size_of_signals():
    """A deviation of √(2 / fan-in), by He et al. 2015; the fan-in counts four orientations."""
    layer = drawn(GroupConvolution(32, 32))
    assert layer.weight.std().item() == pytest.approx((2 / (32 * 4 * 9)) ** 0.5, rel=0.02)
