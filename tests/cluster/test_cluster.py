"""All scenarios on a cluster that people name: `make test-cluster CLUSTER=context`."""

import os

import pytest

from tests.cluster.scenarios import SCENARIOS, install
from tests.cluster.site import MissingError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("HISTOSEG_CLUSTER"), reason="`make test-cluster CLUSTER=context` runs this on a cluster"
    ),
]


@pytest.fixture(scope="session")
def installed(site):
    """The site with a release; all scenarios need it, whichever are chosen."""
    try:
        install(site)
    except AssertionError as error:
        return error
    return None


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario, site, installed):
    if installed is not None:
        if scenario is not install:
            pytest.skip("the release could not be installed")
        raise installed
    if scenario is install:
        return
    try:
        scenario(site)
    except MissingError as missing:
        pytest.skip(f"{site.context} lacks {missing}")
    finally:
        site.tidy()
