"""The runs behind Cerberus' Table 7: ways to tell classes of objects apart, all on one network that stays as it is.

The network is that of Tables 4 and 5, trained on every structure and on tissue, and shared with them by name; so is the
decoder of Table 2, which is the last row here. On a laptop it is that of Tables 6 and A1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from histoseg.experiments._available import Sources
from histoseg.experiments._cerberus import ALL, BRIEF_SCALES, FoldGrid, Row, Sizes, subtype_stage, typed_sources
from histoseg.methods.subtyping import Loss, Mode
from histoseg.runs.config import Run
from histoseg.scoring.object_classes import ObjectClasses


@dataclass(frozen=True, kw_only=True)
class SubtypingRow:
    """One way to learn classes of objects; `structures` are those whose classes are learnt, in a run each."""

    title: str
    mode: Mode
    loss: Loss
    structures: tuple[str, ...] = ("nuclei",)


ROWS: Mapping[str, SubtypingRow] = {
    "pixel_a_ce": SubtypingRow(title="PixelA, CE", mode="PixelA", loss="ce"),
    "pixel_a_ce_dice": SubtypingRow(title="PixelA, CE and Dice", mode="PixelA", loss="ce+dice"),
    "pixel_a": SubtypingRow(title="PixelA, masked CE and Dice", mode="PixelA", loss="masked"),
    # Figure A1 is of glands that were classified in the same way; the paper has no numbers of them.
    "pixel_b": SubtypingRow(
        title="PixelB, masked CE and Dice", mode="PixelB", loss="masked", structures=("nuclei", "gland")
    ),
}


@dataclass(frozen=True, kw_only=True)
class SubtypingGrid:
    """The runs of a table whose rows are ways to learn classes of objects."""

    experiment: str
    rows: Mapping[str, SubtypingRow]
    scales: Mapping[str, Sizes] = field(default_factory=lambda: BRIEF_SCALES)

    def runs(self, scale: str, seeds: int, sources: Sources) -> list[Run]:
        """Every run that the prepared sources allow, for seeds 0 to `seeds` - 1."""
        return [run for shared in self._grid.runs(scale, seeds, sources) for run in self._follow(shared, sources)]

    def why_missing(self, row: str, column: str, sources: Sources) -> str:
        """Why a number cannot be had from these sources; empty if it can. Columns are split.structure.score."""
        split, structure, _ = column.split(".")
        return self._grid.why_missing(row, f"{split}.{structure}.mpq", sources)

    @property
    def _grid(self) -> FoldGrid:
        """The trainings that rows begin with, all of them the same ones."""
        rows = {name: Row(title=row.title, trainings=(ALL,), imagenet=True) for name, row in self.rows.items()}
        return FoldGrid(experiment=self.experiment, rows=rows, scales=self.scales, least=1)

    def _follow(self, shared: Run, sources: Sources) -> Iterator[Run]:
        """The runs of one training: one for each structure whose classes its row learns."""
        row, sizes, (learn,) = self.rows[shared.row], self.scales[shared.scale], shared.stages
        for structure in row.structures:
            if self.why_missing(shared.row, f"test.{structure}.map", sources):
                continue
            typed = typed_sources(learn.select.sources, sources, structure)
            stage = subtype_stage(structure, sizes, learn.select.splits, typed, sources)
            windows = sizes.evaluator
            yield replace(
                shared,
                part=structure,
                stages=(
                    learn,
                    replace(stage, method=replace(stage.method, mode=row.mode, loss=row.loss)),
                ),
                score=replace(shared.score, sources=typed),
                evaluator=ObjectClasses(window_px=windows.window_px, margin_px=windows.margin_px, structure=structure),
            )
