"""What the chart takes as the name of a GPU is one everywhere: for Ray, for the rules and for `histoseg doctor`."""

import json

import pytest

from tests.charts.conftest import helm, rendered  # noqa: F401 # fixtures
from tests.charts.rendering import CHART, groups, ray_job
from tests.kube.example import GONE, spoilt

# As the device plugins of NVIDIA (shared in time; a part by memory; one with media engines), AMD and Intel name them.
NAMES = (
    "nvidia.com/gpu",
    "nvidia.com/gpu.shared",
    "nvidia.com/mig-1g.10gb",
    "nvidia.com/mig-1g.10gb.me",
    "amd.com/gpu",
    "gpu.intel.com/i915",
)
ANYWHERE = {"spec.rayClusterSpec.workerGroupSpecs.0.template.spec.nodeSelector": {}}


def template(rendered, name):  # noqa: F811 # the fixture's value
    """The job of ci/gpu-values.yaml: two workers with four GPUs each."""
    return ray_job(rendered("gpu", f"workerGroups[0].gpuResource={name}"))


def node(name):
    return {"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "64", name: "6"}}}


def test_the_chart_and_the_rules_allow_the_same_names():
    from histoseg.kube.rules.manifest import GPU

    schema = json.loads((CHART / "values.schema.json").read_text())
    (pattern,) = (found["pattern"] for found in fields(schema, "gpuResource"))
    assert pattern == f"^{GPU.pattern}$"


def fields(tree, name):
    """Every schema of a field of that name."""
    for key, value in tree.items() if isinstance(tree, dict) else []:
        yield from [value] if key == name else fields(value, name)


@pytest.mark.parametrize(
    ("name", "expected"), [*((name, True) for name in NAMES), *((name, False) for name in ("cpu", "memory", "pods"))]
)
def test_a_gpu_has_the_name_of_a_device(name, expected):
    from histoseg.kube.rules.manifest import is_gpu

    assert is_gpu(name) is expected


@pytest.mark.parametrize("name", NAMES)
class TestAGpuOfAnyName:
    """Expected: two pods of four GPUs are eight, of which one fits on a node with six."""

    def test_is_told_to_ray(self, name, rendered):  # noqa: F811
        from histoseg.kube.rayjob import capacity

        job = template(rendered, name)
        (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        assert group["rayStartParams"]["num-gpus"] == "4"
        assert capacity(job)["GPU"] == 8

    def test_breaks_no_rule_but_needs_a_deadline(self, name, rendered):  # noqa: F811
        from histoseg.kube.rules import faults

        job = template(rendered, name)
        assert faults([job], template=True) == []
        (line,) = faults([spoilt(job, {"spec.activeDeadlineSeconds": GONE})], template=True)
        assert "worker group gpu has GPUs" in line

    def test_is_looked_for_on_the_nodes(self, name, rendered):  # noqa: F811
        from histoseg.doctor.fit import gpu_check

        check = gpu_check(spoilt(template(rendered, name), ANYWHERE), [node(name)])
        assert check.found == "8 asked for, 4 fit on the nodes of now, which have 6"

    def test_counts_against_a_quota(self, name, rendered):  # noqa: F811
        from histoseg.doctor.fit import quota_checks

        quota = {"metadata": {"name": "lab"}, "status": {"hard": {f"requests.{name}": "7"}}}
        (check,) = quota_checks(template(rendered, name), [quota])
        assert not check.ok
        assert check.found == f"requests.{name} 8 of 7 (0 used)"


def test_a_group_without_gpus_tells_ray_so(rendered):  # noqa: F811
    from histoseg.kube.rayjob import capacity

    objects = rendered("minimal")
    assert {group["rayStartParams"]["num-gpus"] for group in groups(objects).values()} == {"0"}
    assert "GPU" not in capacity(ray_job(objects))
