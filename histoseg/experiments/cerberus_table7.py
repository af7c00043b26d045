"""Cerberus, Table 7 and Figure A1: classes of nuclei by pixel, with a head or a decoder of their own; and of glands."""

from dataclasses import replace

from histoseg.experiments._cerberus import BRIEF_SCALES as SCALES
from histoseg.experiments._cerberus import SOURCES, STRUCTURES
from histoseg.experiments._cerberus_paper import CITATION, TABLE7
from histoseg.experiments._cerberus_spec import MAJORITY, ON_WEIGHTS, SPLITS, above_majority, folds_table, groups
from histoseg.experiments._subtyping import ROWS, SubtypingGrid
from histoseg.report.sentences import leading_rows, margins
from histoseg.report.table import Paper

_SCORES = {"map": "mAP", "mf1": "mF1"}
_GLANDS = {
    f"{split}.gland.{score}": f"{title}, {where.lower()}"
    for split, where in SPLITS.items()
    for score, title in _SCORES.items()
}
SPEC = replace(
    folds_table(
        title="Table 7: classes of nuclei, pixel by pixel",
        rows={name: row.title for name, row in ROWS.items()},
        groups={**groups(("nuclei",), _SCORES), "Glands (Figure A1)": _GLANDS},
        paper=Paper(citation=f"{CITATION}, Table 7", numbers=TABLE7),
        notes=(
            "Mean ± standard deviation over three divisions of the folds (and seeds): trained on one fold, scored on "
            "another, which the training has not seen. The network is the one after the last step; nothing is chosen "
            "on a score.",
            "All rows stand on the network of Tables 4 and 5 that learned every structure and tissue, of which nothing "
            "changes; at the scale laptop it is that of Tables 6 and A1, which is trained for a third of the steps. "
            "PixelA is a head on the branch that finds the objects, PixelB a decoder of its own. CE is cross-entropy "
            "over all pixels, with background as one more class; the masked losses see the pixels of objects alone "
            "(Eqs. 2 to 4).",
            "Scores are of all annotated objects of a split together, however well the network finds them. An object "
            "has the class of most of its pixels (mF1); its probability of a class is the mean over its pixels (mAP).",
            "The row “Most frequent class” is what a program scores that has learned nothing and says of every object "
            "what most of them are.",
            "The paper shows glands as a picture only, its Figure A1, so there are no numbers of them to compare with; "
            "here only sources that mark the epithelium of the surface have such classes.",
            ON_WEIGHTS,
        ),
    ),
    row_name="Mode and loss",
    not_applicable=frozenset(
        (name, column) for name, row in ROWS.items() for column in _GLANDS if "gland" not in row.structures
    ),
    baseline=MAJORITY,
    sentences=(leading_rows, margins, above_majority),
)
_GRID = SubtypingGrid(experiment="cerberus_table7", rows=ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
