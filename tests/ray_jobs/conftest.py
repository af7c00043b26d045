from pathlib import Path

import pytest

HERE = Path(__file__).parent
AT_ONCE = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}  # Nodes that are told to end do not wait for work.


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """One real Ray for all tests: starting it takes as long as most of them."""
    from ray_jobs.cluster import local_ray

    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(HERE), prepend=":")  # Where workers find ray_stand_in.
    with local_ray(tmp_path_factory.mktemp("ray"), num_cpus=2) as ray:
        yield ray
    patch.undo()


@pytest.fixture(scope="session")
def bare_ray(tmp_path_factory):
    """A Ray of only a head that computes nothing. Tests that give it workers take them away again."""
    from tests.ray_jobs.nodes import nodes

    with nodes(tmp_path_factory.mktemp("nodes"), AT_ONCE) as ray:
        yield ray
