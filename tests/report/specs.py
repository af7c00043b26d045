"""The specs of small made-up tables: pairs of methods, ways to train on folds, and a third kind of experiment."""

from dataclasses import replace

from histoseg.experiments._cerberus_spec import folds_table
from histoseg.experiments._metahistoseg_table import leave_one_out_table
from histoseg.report.table import Axis, Paper, TableSpec


def make_pairs_spec(**changes):
    """Two new tasks, two predecessor sets, two methods."""
    spec = leave_one_out_table(
        title="A made-up table",
        new_tasks={"glas": "Glands", "monuseg": "Nuclei"},
        predecessors={"all_others": "All others", "monuseg": "Nuclei only"},
        methods={"maml": "MAML", "transfer": "TransferL"},
        notes=("Compare with care.",),
        paper=Paper(
            citation="Writer (2022), Table 1",
            numbers={("glas", "monuseg.maml"): (0.563, None), ("glas", "monuseg.transfer"): (0.573, None)},
        ),
    )
    return replace(spec, **changes)


def make_folds_spec(**changes):
    """Two rows of ours and one that is only quoted; PQ of glands and lumina, and classes of tissue."""
    spec = folds_table(
        title="A made-up table",
        rows={"alone": "Alone", "quoted": "Quoted-Net", "together": "Together"},
        groups={
            "Cross-validation": {
                "test.gland.pq": "Gland PQ",
                "test.lumen.pq": "Lumen PQ",
                "test.tissue.map": "Tissue mAP",
            },
            "External test set": {"external.gland.pq": "Gland PQ"},
        },
        notes=("A note <to> be read.",),
        paper=Paper(
            citation="Writer (2023), Table 3",
            numbers={
                ("alone", "test.gland.pq"): (0.622, 0.03),
                ("quoted", "test.gland.pq"): (0.647, 0.046),
                ("together", "test.gland.pq"): (0.677, 0.028),
            },
            only=frozenset({"quoted"}),
        ),
    )
    return replace(spec, **changes)


def make_shots_spec(**changes):
    """A third kind of experiment: two ways to train over numbers of images. A `TableSpec` is all that it needs."""
    spec = TableSpec(
        title="Accuracy over numbers of images",
        row_name="Features",
        rows={"scratch": "From scratch", "frozen": "Frozen features"},
        groups={"Test images": {"shots10": "10", "shots2": "2"}},
        score="accuracy",
        score_title="accuracy",
        x_axis=Axis(title="images of each class", values={"shots10": 10, "shots2": 2}),
    )
    return replace(spec, **changes)
