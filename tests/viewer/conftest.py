import pytest

from tests.viewer.made_up import write_slide_with_results

CAVEAT = "Trained on colon only: other tissue may be segmented wrongly."


@pytest.fixture(scope="package")
def cohort(tmp_path_factory):
    """A folder with `slides` and `results` of two slides, and what they show."""
    folder = tmp_path_factory.mktemp("cohort")
    large = {"width": 6000, "height": 5000, "num_nuclei": 20_000, "num_glands": 60}
    made = {
        "first slide": write_slide_with_results(folder, "first slide", caveats=[CAVEAT], **large),
        "second & last": write_slide_with_results(
            folder, "second & last", width=2000, height=1500, num_nuclei=900, num_glands=6, seed=1
        ),
    }
    return folder, made
