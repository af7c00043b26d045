"""What GPUs can compute at most, by the data sheets of their maker.

Dense figures: a data sheet that gives tensor cores "with sparsity" gives twice as many. All are in TFLOP/s at the boost
clock, which a card under load does not always hold.
"""

import re
from dataclasses import dataclass

from histoseg.runs.config import Precision


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card's peaks in TFLOP/s; None where it has no units for that.

    Attributes:
        name: A regular expression for what torch calls the card, all of it: a slice of a card is not the card.
        fp32: Of float32 outside of tensor cores, which is what trainings in fp32 use.
        tf32: Of float32 rounded to TF32 in tensor cores: what is not in bfloat16 in a training in bf16.
        bf16: Of bfloat16 in tensor cores, summed in float32.
        source: Where the figures are from.
    """

    name: str
    fp32: float
    tf32: float | None
    bf16: float | None
    source: str

    def peak(self, precision: Precision) -> float | None:
        """FLOP/s at most in a precision of our trainings."""
        tera = self.fp32 if precision == "fp32" else self.bf16
        return None if tera is None else 1e12 * tera


H100 = "NVIDIA H100 Tensor Core GPU, data sheet 2287922 (2023)"
ADA = "NVIDIA Ada GPU Architecture, white paper 2.02, Table 2"
CARDS = (
    Card(name=r"NVIDIA H100 \d+GB HBM3", fp32=67, tf32=494.5, bf16=989.5, source=H100),
    Card(name=r"NVIDIA H100 NVL", fp32=60, tf32=417.5, bf16=835.5, source=H100),
    Card(name=r"NVIDIA H100 PCIe", fp32=51, tf32=378, bf16=756.5, source="NVIDIA H100, data sheet of March 2022"),
    Card(name=r"NVIDIA H200", fp32=67, tf32=494.5, bf16=989.5, source="NVIDIA H200 Tensor Core GPU, data sheet (2024)"),
    Card(
        name=r"NVIDIA (A100-SXM4-\d+GB|A100-PCIE-40GB|A100 80GB PCIe)",
        fp32=19.5,
        tf32=156,
        bf16=312,
        source="NVIDIA A100 Tensor Core GPU, data sheet 1758950 (2021)",
    ),
    Card(name=r"NVIDIA A30", fp32=10.3, tf32=82, bf16=165, source="NVIDIA A30 Tensor Core GPU, data sheet (2021)"),
    Card(name=r"NVIDIA A10", fp32=31.2, tf32=62.5, bf16=125, source="NVIDIA A10 Tensor Core GPU, data sheet (2021)"),
    Card(name=r"NVIDIA A40", fp32=37.4, tf32=74.8, bf16=149.7, source="NVIDIA A40, data sheet (2020)"),
    Card(name=r"NVIDIA RTX A6000", fp32=38.7, tf32=77.4, bf16=154.8, source="NVIDIA Ampere GA102, white paper 2.1"),
    Card(name=r"NVIDIA L4", fp32=30.3, tf32=60, bf16=121, source="NVIDIA L4 Tensor Core GPU, data sheet (2023)"),
    Card(name=r"NVIDIA L40S", fp32=91.6, tf32=183, bf16=362.05, source="NVIDIA L40S, data sheet (2023)"),
    Card(name=r"NVIDIA GeForce RTX 3090", fp32=35.6, tf32=35.6, bf16=71, source="NVIDIA Ampere GA102, white paper 2.1"),
    Card(name=r"NVIDIA GeForce RTX 4090", fp32=82.6, tf32=82.6, bf16=165.2, source=ADA),
    Card(
        name=r"Tesla V100-SXM2-\d+GB",
        fp32=15.7,
        tf32=None,
        bf16=None,
        source="NVIDIA V100 Tensor Core GPU, data sheet 1165301 (2020)",
    ),
    Card(
        name=r"Tesla T4", fp32=8.1, tf32=None, bf16=None, source="NVIDIA T4 Tensor Core GPU, data sheet 951643 (2019)"
    ),
)


def find_card(name: str) -> Card | None:
    """The card that torch calls by that name; None if its peaks are not known here."""
    return next((card for card in CARDS if re.fullmatch(card.name, name)), None)
