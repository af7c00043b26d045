import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from histoseg.report.cell import Cell
from histoseg.report.curves import draw_losses, draw_validation, loss_plots
from histoseg.report.drawing import COLOURS, add_line_legend, colours_of, sizes_of
from histoseg.report.figures import dot_plots, draw_scores, score_figures
from histoseg.report.layout import lay_out
from histoseg.report.table import NO_PAPER
from tests.report.records import SHOTS_RECORDS, make_fold_record, make_record
from tests.report.specs import make_folds_spec, make_pairs_spec, make_shots_spec
from tests.report.test_table import folds, pairs, three


@pytest.fixture(scope="module")
def finished_pairs():
    spec = make_pairs_spec()
    return lay_out(spec, [make_record(row, *column.split(".")) for row, column in spec.keys[:4]])


def pixels(png):
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert min(decoded.shape[:2]) > 100
    return decoded


def has_colour(picture, colour):
    return (picture == tuple(bytes.fromhex(colour[1:]))).all(axis=-1).any()


def test_figures_show_every_method(finished_pairs):
    (scores,) = draw_scores(finished_pairs).values()
    for png in (scores, draw_losses(finished_pairs), draw_validation(finished_pairs)):
        for colour in COLOURS[:2]:
            assert has_colour(pixels(png), colour)


def test_rows_have_plots_where_columns_are_compared(finished_pairs):
    (line,) = dot_plots(finished_pairs, list(finished_pairs.spec.columns))
    assert [plot.title for plot in line] == ["Glands", "Nuclei"]
    assert [label for label, _ in line[0].lines] == ["All others", "Nuclei only"]
    # Nuclei after nuclei cannot be.
    assert line[1].lines == (("All others", (("monuseg", "all_others.maml"), ("monuseg", "all_others.transfer"))),)


def test_columns_have_plots_where_rows_are_compared():
    table = folds()
    assert score_figures(table) == {
        "scores-gland": ["test.gland.pq", "external.gland.pq"],
        "scores-lumen": ["test.lumen.pq"],
        "scores-tissue": ["test.tissue.map"],
    }
    (line,) = dot_plots(table, ["test.gland.pq", "external.gland.pq"])
    assert [plot.title for plot in line] == ["Gland PQ · cross-validation", "Gland PQ · external test set"]
    assert [label for label, _ in line[0].lines] == ["Alone", "Quoted-Net", "Together"]
    assert line[0].keys == tuple((row, "test.gland.pq") for row in ("alone", "quoted", "together"))


def test_figures_of_scores_are_named_by_structure():
    assert set(draw_scores(folds(*three("together", (0.4, 0.5, 0.9))))) == {
        "scores-gland",
        "scores-lumen",
        "scores-tissue",
    }


def test_figures_stand_without_paper_curves_intervals_or_finished_rows():
    few = make_record(interval_low=float("nan"), interval_high=float("nan")).model_copy(update={"stages": ()})
    table = pairs(few, paper=NO_PAPER)
    (scores,) = draw_scores(table).values()
    assert has_colour(pixels(scores), COLOURS[0])
    assert draw_losses(table) is None
    assert draw_validation(table) is None
    alone = folds(make_fold_record("alone", structures=("gland",)), paper=NO_PAPER, baseline=None)
    assert has_colour(pixels(draw_scores(alone)["scores-gland"]), COLOURS[0])


@pytest.mark.parametrize(("length", "num_columns"), [(3, 4), (20, 2), (90, 1)])
def test_a_legend_of_long_names_has_fewer_columns(length, num_columns):
    figure = Figure(figsize=(6, 3))
    add_line_legend(figure, {f"{i}{'x' * length}": colour for i, colour in enumerate(COLOURS[:4])})
    (legend,) = figure.legends
    assert legend._ncols == num_columns
    assert length == 90 or legend.get_window_extent().width <= figure.bbox.width


def test_scores_over_numbers_are_curves():
    """A row without a finished cell has no curve, and no line in the legend."""
    spec = make_shots_spec()

    def count(records, colour):
        (png,) = draw_scores(lay_out(spec, records)).values()
        return (pixels(png) == tuple(bytes.fromhex(colour[1:]))).all(axis=-1).sum()

    first, second, other = COLOURS[:3]
    assert count(SHOTS_RECORDS, first) > count([], first) == 0
    assert count(SHOTS_RECORDS, second) > count(SHOTS_RECORDS[:-2], second) == 0
    assert count(SHOTS_RECORDS, other) == 0


def test_curves_may_have_a_band_a_goal_and_a_logarithmic_axis():
    """A band is as wide as Student's t says: two replicates 0.2 apart, so 12.706 * 0.1 either way at 95 %."""
    records = [
        *SHOTS_RECORDS,
        *(one.model_copy(update={"replicate": f"{one.replicate} again"}) for one in SHOTS_RECORDS),
    ]
    plain = make_shots_spec()
    axis = replace(plain.x_axis, is_log=True, goal=0.4, confidence=0.95)
    drawn = [draw_scores(lay_out(replace(plain, x_axis=one), records))["scores"] for one in (plain.x_axis, axis)]
    assert drawn[0] != drawn[1]
    cell = Cell(
        row="r", column="c", score="s", records={str(i): record_of(score) for i, score in enumerate((0.4, 0.6))}
    )
    assert cell.band(0.95) == pytest.approx((0.5 - 1.2706, 0.5 + 1.2706), abs=1e-4)
    assert np.isnan(Cell(row="r", column="c", score="s", records={"0": record_of(0.4)}).band(0.95)).all()


def record_of(score):
    return SHOTS_RECORDS[0].model_copy(update={"scores": {"s": score}})


def test_a_shared_training_is_drawn_once(finished_pairs):
    plots = loss_plots(finished_pairs)
    # The predecessors "all others" are other ones for each new task, so there are two plots of them.
    assert list(plots) == ["All others", "Nuclei only"]
    assert [line for line, _ in plots["Nuclei only"]] == ["MAML", "TransferL"]
    spec = make_pairs_spec()
    both = lay_out(spec, [make_record("glas", "all_others"), make_record("monuseg", "all_others"), make_record()])
    assert list(loss_plots(both)) == ["All others · Glands", "Nuclei only", "All others · Nuclei"]


def test_losses_of_ways_to_train():
    record = make_fold_record("together")
    subtyping = record.stages[0].model_copy(update={"stage": "subtyping", "label": "subtype"})
    table = folds(
        record.model_copy(update={"stages": (*record.stages, subtyping)}),
        make_fold_record("alone", structures=("gland",)),
        make_fold_record("alone", structures=("lumen",)),
    )
    assert {title: [line for line, _ in lines] for title, lines in loss_plots(table).items()} == {
        "Alone": ["gland", "lumen"],
        "Together": ["gland, lumen"],
        "Together (subtype)": ["gland, lumen"],
    }
    assert has_colour(pixels(draw_losses(table)), COLOURS[2])


def test_figures_use_no_pyplot():
    # In a process of its own: other tests may load it.
    code = "import sys, histoseg.report.page; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_same_records_give_the_same_bytes(finished_pairs):
    assert draw_scores(finished_pairs) == draw_scores(finished_pairs)


def test_lines_of_axes_and_colours():
    assert sizes_of(5, 4) == [4, 1]
    assert sizes_of(2, 4) == [2]
    assert colours_of("abcdefga") == dict(zip("abcdefg", (*COLOURS, COLOURS[0]), strict=True))
    assert make_folds_spec().structure("test.gland.pq") == "gland"
