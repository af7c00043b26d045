import pytest

from tests.exports import made


@pytest.fixture
def store(tmp_path):
    return made.results(tmp_path / "results")


@pytest.fixture
def slide(store):
    return made.slide_of(store)
