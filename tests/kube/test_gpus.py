import pytest

from histoseg.kube.rayjob import capacity, is_gpu
from tests.charts.conftest import helm, rendered  # noqa: F401 # fixtures
from tests.charts.rendering import groups, ray_job
from tests.kube.example import GPU_NAMES


@pytest.mark.parametrize(
    ("name", "expected"),
    [*((name, True) for name in GPU_NAMES), *((name, False) for name in ("cpu", "memory", "ephemeral-storage"))],
)
def test_a_gpu_has_the_name_of_a_device(name, expected):
    assert is_gpu(name) is expected


@pytest.mark.parametrize("name", GPU_NAMES)
def test_ray_knows_a_gpu_of_any_name(name, rendered):  # noqa: F811 # a fixture
    """The job of ci/gpu-values.yaml: two workers with four GPUs each."""
    job = ray_job(rendered("gpu", f"workerGroups[0].gpuResource={name}"))
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["rayStartParams"]["num-gpus"] == "4"
    assert capacity(job)["GPU"] == 8


def test_ray_knows_that_a_group_has_no_gpus(rendered):  # noqa: F811 # a fixture
    objects = rendered("minimal")
    assert {group["rayStartParams"]["num-gpus"] for group in groups(objects).values()} == {"0"}
    assert "GPU" not in capacity(ray_job(objects))
