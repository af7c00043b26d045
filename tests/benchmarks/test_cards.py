"""Peaks of cards are those of the data sheets, without sparsity."""

import pytest
from cards import CARDS, find_card


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        # Data sheets: H100 SXM has 67 and, with sparsity, 1,979; A100 has 19.5 and 312 without.
        ("NVIDIA H100 80GB HBM3", "fp32", 67),
        ("NVIDIA H100 80GB HBM3", "bf16", 1979 / 2),
        ("NVIDIA A100-SXM4-40GB", "fp32", 19.5),
        ("NVIDIA A100 80GB PCIe", "bf16", 312),
        ("NVIDIA L40S", "bf16", 362.05),
    ],
)
def test_peaks_of_a_card(name, precision, tera):
    assert find_card(name).peak(precision) == pytest.approx(tera * 1e12)


def test_a_card_without_bfloat16_has_no_peak_in_it():
    assert find_card("Tesla T4").peak("bf16") is None


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA L40", "NVIDIA GeForce RTX 4090 D"])
def test_a_slice_or_another_card_is_unknown(name):
    assert find_card(name) is None


def test_tensor_cores_are_not_slower():
    for card in CARDS:
        assert card.source
        assert card.fp32 <= (card.tf32 or card.fp32) <= (card.bf16 or card.tf32 or card.fp32)
        # Everywhere twice as many in bfloat16, to within the rounding of the data sheets.
        if card.bf16 is not None:
            assert card.bf16 == pytest.approx(2 * card.tf32, rel=0.02)
