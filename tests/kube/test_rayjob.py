import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest

from histoseg.errors import ConfigError
from histoseg.kube import rayjob
from histoseg.kube.rayjob import addressed, is_gpu_for_kuberay, manifest, quantity
from histoseg.runs.job import request_of
from tests.kube.conftest import COMMAND


def group(**more):
    limits = {"cpu": "3500m", "nvidia.com/gpu": "1"}
    template = {"spec": {"containers": [{"name": "ray", "image": "i", "resources": {"limits": limits}}]}}
    return {"groupName": "g", "replicas": 2, "minReplicas": 1, "maxReplicas": 4, "template": template, **more}


def capacity(*groups, **cluster):
    return rayjob.capacity({"spec": {"rayClusterSpec": {**cluster, "workerGroupSpecs": list(groups)}}})


class TestManifest:
    def test_is_the_template_with_the_job_filled_in(self, job, settings):
        before = copy.deepcopy(settings.template)
        made = manifest(job, settings, COMMAND)
        name = job.name
        assert made["metadata"] == {
            "name": name,
            "namespace": "team",
            "labels": {
                "app.kubernetes.io/name": "histoseg",
                "histoseg.io/experiment": "table1",
                "histoseg.io/job": name,
            },
            "annotations": {
                "histoseg.io/command": COMMAND,
                "histoseg.io/results": f"s3://bucket/prefix/results/table1/{name}",
            },
        }
        filled = {key: made["spec"].pop(key) for key in ("entrypoint", "jobId")}
        assert filled["jobId"] == name
        (submitter,) = made["spec"]["submitterPodTemplate"]["spec"]["containers"]
        assert submitter.pop("args") == [filled["entrypoint"]]
        assert made["spec"] == before["spec"]
        assert settings.template == before

    def test_the_submitter_gets_the_entrypoint_as_it_is(self, job, settings):
        """Kubernetes reads $(NAME) in an argument as a variable, and $$ as a $."""
        made = manifest(replace(job, sets=("a=$(HOME)",)), settings, COMMAND)
        (submitter,) = made["spec"]["submitterPodTemplate"]["spec"]["containers"]
        assert "a=$(HOME)" in made["spec"]["entrypoint"]
        assert "a=$$(HOME)" in submitter["args"][0]

    def test_says_what_the_workers_will_have(self, job, settings):
        entrypoint = manifest(job, settings, COMMAND)["spec"]["entrypoint"]
        assert request_of(entrypoint) == replace(job, capacity=("CPU=8", "GPU=2"))  # 2 pods of 4 CPUs and a GPU

    def test_another_image_is_another_job(self, job, settings):
        other = replace(settings, image="registry.example/histoseg-train@sha256:00")
        assert addressed(job, settings).name == job.name
        assert addressed(job, other).name != job.name

    def test_an_experiment_that_cannot_be_a_name(self, job, settings):
        with pytest.raises(ConfigError, match=r"'2fast-.*' cannot name a job; name the experiment with a-z"):
            addressed(replace(job, experiment="2fast"), settings)

    @pytest.mark.parametrize(
        ("mounted", "folder", "is_seen"),
        [("/raw", "/raw/glas", True), ("/raw", "/elsewhere", False), ("", "/raw", False), ("", "prepared", True)],
    )
    def test_a_folder_must_be_one_that_the_pods_see(self, mounted, folder, is_seen, job, settings, mistake):
        with nullcontext() if is_seen else pytest.raises(mistake, match=f"DATA={folder} is not what the pods see"):
            manifest(replace(job, data=folder), replace(settings, raw_data=mounted), COMMAND)

    def test_no_secret_gets_in(self, job, settings):
        assert "store-keys" not in str(manifest(job, settings, COMMAND))

    def test_too_few_gpus(self, job, settings, mistake):
        expected = "request.workers is 3, but all workers of the release together have 2 GPU; .*WORKERS="
        with pytest.raises(mistake, match=expected):
            manifest(replace(job, workers=3), settings, COMMAND)

    def test_without_gpus_the_cpus_count(self, job, settings, mistake):
        template = copy.deepcopy(dict(settings.template))
        workers = template["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
        del workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        cpu_only = replace(settings, template=template)
        assert "--capacity=CPU=8" in manifest(replace(job, workers=8), cpu_only, COMMAND)["spec"]["entrypoint"]
        with pytest.raises(mistake, match=r"request.workers is 9, .* have 8 CPU"):
            manifest(replace(job, workers=9), cpu_only, COMMAND)

    def test_a_head_without_memory_for_a_run(self, job, settings, mistake):
        template = copy.deepcopy(dict(settings.template))
        head = template["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        head["resources"] = {"limits": {"memory": "1Gi"}}
        with pytest.raises(mistake, match=r"head has 1 GiB .*need 1.5 GiB.*head.memory"):
            manifest(job, replace(settings, template=template), COMMAND)


@pytest.mark.parametrize(
    ("resource", "expected"),
    [  # by KubeRay's rule: what ends with gpu, and NVIDIA's names for parts of one
        ("nvidia.com/gpu", True),
        ("amd.com/gpu", True),
        ("example.com/vgpu", True),
        ("nvidia.com/mig-2g.10gb", True),
        ("nvidia.com/mig-2g.10gb.me", False),
        ("nvidia.com/gpu-mig-2g.10gb", False),
        ("nvidia.com/gpumem", False),
        ("cpu", False),
    ],
)
def test_gpus_are_what_kuberay_takes_for_them(resource, expected):
    assert is_gpu_for_kuberay(resource) is expected


class TestCapacity:
    """Expected: pods times what one has, by hand; which field counts, as KubeRay reads it."""

    def test_groups_add_up(self):
        assert capacity(group(), group(replicas=1)) == {"CPU": 12.0, "GPU": 3.0}

    def test_the_autoscaler_may_go_to_the_maximum(self):
        assert capacity(group(), enableInTreeAutoscaling=True) == {"CPU": 16.0, "GPU": 4.0}

    def test_without_a_number_there_is_the_minimum(self):
        one = group()
        del one["replicas"]
        assert capacity(one) == {"CPU": 4.0, "GPU": 1.0}

    def test_start_parameters_go_before_limits(self):
        assert capacity(group(rayStartParams={"num-cpus": "6", "num-gpus": "0"})) == {"CPU": 12.0}

    def test_only_they_tell_ray_of_gpus_whose_name_kuberay_does_not_know(self):
        one = group()
        one["template"]["spec"]["containers"][0]["resources"]["limits"] = {"cpu": 4, "nvidia.com/gpu.shared": 1}
        assert capacity(one) == {"CPU": 8.0}
        assert capacity({**one, "rayStartParams": {"num-gpus": "1"}}) == {"CPU": 8.0, "GPU": 2.0}

    def test_so_do_group_resources(self):
        assert capacity(group(resources={"CPU": "5", "GPU": 2, "spot": "1"})) == {"CPU": 10.0, "GPU": 4.0}
        assert capacity(group(resources={"cpu": "5", "nvidia.com/gpu": 2})) == {"CPU": 10.0, "GPU": 4.0}

    def test_requests_count_where_there_is_no_limit(self):
        one = group()
        one["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": 2}}
        assert capacity(one) == {"CPU": 4.0}

    def test_of_several_kinds_of_gpus_ray_hears_of_one(self):
        """The first by name of which there are any (KubeRay's addWellKnownAcceleratorResources)."""
        one = group()
        limits = {"cpu": 4, "zoo.example/gpu": 5, "nvidia.com/mig-1g.5gb": 3, "nvidia.com/gpu": 0}
        one["template"]["spec"]["containers"][0]["resources"]["limits"] = limits
        assert capacity(one) == {"CPU": 8.0, "GPU": 6.0}

    def test_hosts_multiply_and_suspended_groups_do_not_count(self):
        assert capacity(group(numOfHosts=2), group(suspend=True)) == {"CPU": 16.0, "GPU": 4.0}

    def test_what_is_no_number(self, mistake):
        with pytest.raises(mistake, match="'4cores' in the chart's workerGroups is not a valid Kubernetes quantity"):
            capacity(group(rayStartParams={"num-cpus": "4cores"}))


class TestQuantity:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [  # by the grammar in k8s.io/apimachinery/pkg/api/resource/quantity.go
            (4, 4),
            ("'4'", 4),
            ("500m", 0.5),
            ("250u", 250e-6),
            ("100n", 100e-9),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("3.", 3),
            ("2k", 2000),
            ("5M", 5e6),
            ("5G", 5e9),
            ("5T", 5e12),
            ("5P", 5e15),
            ("1E", 1e18),
            ("1e3", 1000),
            ("1E3", 1000),
            ("25e-1", 2.5),
            ("1Ki", 2**10),
            ("1.5Mi", 1.5 * 2**20),
            ("16Gi", 2**34),
            ("1Ti", 2**40),
            ("1Pi", 2**50),
            ("1Ei", 2**60),
        ],
    )
    def test_is_read_as_kubernetes_does(self, text, expected):
        assert quantity(text, "here") == pytest.approx(expected, rel=1e-15)

    @pytest.mark.parametrize("text", ["", "4cores", "1K", "1ki", "1mi", "1 Gi", "1e", "Gi", ".", "nan", "1_000", None])
    def test_what_is_none_is_said_with_its_place(self, text, mistake):
        with pytest.raises(mistake, match="in quota lab is not a valid Kubernetes quantity"):
            quantity(text, "quota lab")
