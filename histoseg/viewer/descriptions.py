"""The list, a slide and an object as the page gets them: plain values for JSON."""

import math
from dataclasses import asdict

import numpy as np

from histoseg.slides.summary import TissueAbout
from histoseg.viewer.census import CELL_PX, COARSEST_LEVEL, Census
from histoseg.viewer.cohort import Cohort, Entry
from histoseg.viewer.results import FoundObject, Results

OVERVIEW_CELLS = 160  # Along the longer side: enough to find the densest part of a slide


def describe_cohort(cohort: Cohort) -> dict[str, object]:
    """Every slide with its counts, or with what is wrong."""
    listing = cohort.list()
    return {
        "address": cohort.store.url,
        "slides": [_describe_entry(entry) for entry in listing.entries.values()],
        "unfinished": list(listing.unfinished),
    }


def _describe_entry(entry: Entry) -> dict[str, object]:
    found: dict[str, object] = {"folder": entry.folder, "version": entry.version, "problem": entry.problem}
    if entry.summary is not None:
        plurals = {name: words.plural for name, words in entry.summary.structures.items()}
        found["counts"] = {plurals.get(name, name): count.all for name, count in entry.summary.counts.items()}
        found["area_mm2"] = entry.summary.mask.area_mm2
    return found


def describe_slide(entry: Entry, results: Results) -> dict[str, object]:
    """What the page needs before it draws: nothing but the summary is read for it."""
    summary = results.summary
    return {
        "folder": entry.folder,
        "version": entry.version,
        "size_px": list(summary.size_px),
        "mpp": summary.mpp,
        "address": summary.address,
        "model": summary.model.model_dump(),
        "caveats": list(summary.caveats),
        "notes": dict(summary.notes),
        "histoseg": summary.histoseg,
        "mask": summary.mask.model_dump(),
        "structures": {name: {"singular": w.singular, "plural": w.plural} for name, w in summary.structures.items()},
        "kinds": [asdict(kind) for kind in results.kinds],
        "tissue": _describe_tissue(summary.tissue),
    }


def _describe_tissue(tissue: TissueAbout | None) -> dict[str, object] | None:
    """Colours without that of the first class, background, which is not painted."""
    if tissue is None:
        return None
    return {**tissue.model_dump(), "colours": ["", *tissue.colours[1:]]}


def describe_census(census: Census) -> dict[str, object]:
    """At which levels what is drawn how, and a coarse grid from which the page takes the scale of its densities."""
    densities = {}
    for name, density in census.densities.items():
        longer = max(density.counts.shape[1:])
        level = min(density.level + max(0, math.ceil(math.log2(longer / OVERVIEW_CELLS))), COARSEST_LEVEL)
        grid = density.at(level)
        occupied = grid.sum(axis=0) > 0
        densities[name] = {
            "level": density.level,
            "kinds": list(density.kinds),
            "cell_px": CELL_PX << level,
            "cells": grid[:, occupied].tolist(),
        }
    return {
        "num_objects": len(census.x),
        "totals": np.bincount(census.kinds, minlength=census.num_kinds).tolist(),
        "outline_levels": dict(census.outline_levels),
        "diameters_px": dict(census.diameters_px),
        "densities": densities,
    }


def describe_object(found: FoundObject) -> dict[str, object]:
    """An object with its equivalent diameter: that of the circle of the same area."""
    return {**asdict(found), "diameter_um": 2 * math.sqrt(found.area_um2 / math.pi)}
