from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """One real Ray for all tests: starting it takes as long as most of them."""
    from ray_jobs.cluster import local_ray

    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(HERE), prepend=":")  # Where workers find ray_stand_in.
    with local_ray(tmp_path_factory.mktemp("ray"), num_cpus=2) as ray:
        yield ray
    patch.undo()
