import pytest


@pytest.fixture(scope="module")
def on_two_ranks():
    """Calls function(rank, *arguments) in two processes."""
    from tests.training.ranks import two_processes

    with two_processes() as call:
        yield call
