"""What a request for a cohort of slides may say."""

import pytest

from histoseg.errors import ConfigError
from histoseg.pipeline.cohort import is_cohort, options_of, require_valid
from histoseg.pipeline.plan import load_experiment
from histoseg.runs.request import Request

ASKED = {"experiment": "slides", "slides": "scans", "model": "model"}


def test_the_catalogue_says_what_is_a_cohort():
    assert is_cohort(Request(**ASKED))
    assert not is_cohort(Request(experiment="table1"))


def test_assignments_are_settings_of_segment():
    request = Request(**ASKED, sets=("mask=none", "windows.window_px=512", "mpp=0.5", 'structures=("gland",)'))
    options = options_of(request)
    assert (options.mask, options.windows.window_px, options.mpp, options.structures) == ("none", 512, 0.5, ("gland",))
    assert options_of(Request(**ASKED)).mask == "auto"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"slides": ""}, ["slides needs SLIDES:"]),
        ({"slides": "", "model": ""}, ["SLIDES and MODEL"]),
        ({"scale": "paper"}, ["no scale 'paper'", "laptop"]),
        ({"sets": ("windows.nope=1",)}, ["'nope' is not among window_px, margin_px"]),
        ({"sets": ("mpp=-1",)}, ["-1"]),
        ({"experiment": "smoke"}, ["smoke takes no SLIDES, MODEL", "EXP=slides"]),
    ],
)
def test_what_cannot_be_is_refused_at_once(changed, words):
    with pytest.raises(ConfigError) as caught:
        require_valid(Request(**{**ASKED, **changed}))
    assert all(word in str(caught.value) for word in words)


def test_where_tables_are_expected_a_cohort_is_refused():
    with pytest.raises(ConfigError, match=r"slides trains nothing.*choose from .*table1"):
        load_experiment("slides", "laptop")


@pytest.mark.parametrize(("field", "variable"), [("slides", "SLIDES"), ("model", "MODEL"), ("into", "OUT")])
def test_a_cluster_cannot_read_what_is_here(field, variable):
    there = {"experiment": "slides", "slides": "s3://lab/scans", "model": "s3://lab/model", "into": "s3://lab/out"}
    known = Request(**there).for_cluster("s3://lab/store")
    assert (known.slides, known.model, known.data, known.store) == (
        "s3://lab/scans",
        "s3://lab/model",
        "",
        "s3://lab/store",
    )
    with pytest.raises(ConfigError, match=f"{variable}=here is on this machine, where a cluster cannot read it"):
        Request(**{**there, field: "here"}).for_cluster("s3://lab/store")


def test_the_command_asks_for_the_same():
    known = Request(experiment="slides", slides="s3://lab/scans", model="s3://lab/model").for_cluster("s3://lab/store")
    assert known.command == "make submit EXP=slides STORE=s3://lab/store SLIDES=s3://lab/scans MODEL=s3://lab/model"
