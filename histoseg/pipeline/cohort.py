"""A request that is for a cohort of slides: what it asks for, and what it lacks."""

from functools import reduce

from histoseg.errors import ConfigError
from histoseg.pipeline.plan import data_of
from histoseg.runs import catalog
from histoseg.runs.names import assigned
from histoseg.runs.request import Request
from histoseg.slides.options import SegmentOptions


def is_cohort(request: Request) -> bool:
    """Whether slides are asked for, not a table of trainings."""
    return catalog.kind_of(request.experiment) == catalog.COHORT


def require_valid(request: Request) -> None:
    """Refuse what cannot be, before anything is sent, drawn or computed."""
    given = {"SLIDES": request.slides, "MODEL": request.model, "OUT": request.into}
    if is_cohort(request):
        options_of(request)
        if missing := [variable for variable in ("SLIDES", "MODEL") if not given[variable]]:
            example = "SLIDES=folder MODEL=folder, or s3:// addresses"
            raise ConfigError(f"{request.experiment} needs {' and '.join(missing)}: {example}")
        return
    if extra := [variable for variable, value in given.items() if value]:
        raise ConfigError(f"{request.experiment} takes no {', '.join(extra)}; slides are segmented with EXP=slides")
    data_of(request.experiment, request.scale, request.sets)


def options_of(request: Request) -> SegmentOptions:
    """How the slides are segmented."""
    scales: dict[str, SegmentOptions] = catalog.load(catalog.EXPERIMENTS, request.experiment).SCALES
    if request.scale not in scales:
        raise ConfigError(f"{request.experiment} has no scale {request.scale!r}; choose from {', '.join(scales)}")
    return reduce(assigned, request.sets, scales[request.scale])
