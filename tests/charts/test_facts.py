"""Jobs and the interactive cluster, fact by fact, each with a scenario that has it and one that has not."""

import pytest

from ray_jobs.cluster import OBJECT_STORE_BYTES
from tests.charts.rendering import (
    COMPONENT,
    SCENARIOS,
    cluster_spec,
    container,
    environment,
    groups,
    head,
    one,
    pods,
    ray_job,
    settings,
    some,
)


def test_a_job_is_complete_but_for_what_the_submitter_fills_in(rendered):
    job = ray_job(rendered("minimal"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert "name" not in job["metadata"]
    assert not {"entrypoint", "jobId"} & set(job["spec"])
    assert job["spec"]["submissionMode"] == "K8sJobMode"
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    deadlines = ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "preRunningDeadlineSeconds", "backoffLimit")
    assert [job["spec"][key] for key in deadlines] == [60, 7 * 24 * 3600, 1800, 1]  # 3600 s for two attempts
    assert job["spec"]["submitterConfig"] == {"backoffLimit": 4}


def test_the_submitter_only_follows(rendered):
    """KubeRay adds the token; the store is no business of its."""
    spec = ray_job(rendered("minimal"))["spec"]["submitterPodTemplate"]["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["containers"][0]["command"] == ["python", "-m", "ray_jobs.submitter"]
    assert "args" not in spec["containers"][0]
    assert set(environment(spec["containers"][0])) == {"NVIDIA_VISIBLE_DEVICES"}
    assert "serviceAccountName" not in spec


def test_job_and_interactive_cluster_have_the_same_spec(rendered):
    objects = rendered("interactive")
    cluster = dict(one(objects, "RayCluster")["spec"])
    assert cluster.pop("upgradeStrategy") == {"type": "Recreate"}  # KubeRay refuses it in a RayJob.
    assert cluster == cluster_spec(objects)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_cluster_stays_only_where_asked_for(scenario, rendered):
    asked = scenario in ("interactive", "autoscaling", "unauthenticated", "policies")
    assert len(some(rendered(scenario), "RayCluster", "histoseg-cluster")) == asked


def test_nothing_of_a_run_is_scheduled_on_the_head(rendered):
    params = head(rendered("gpu"))["rayStartParams"]
    assert (params["num-cpus"], params["num-gpus"], params["memory"]) == ("0", "0", "0")
    assert params["dashboard-host"] == "0.0.0.0"
    assert environment(container(head(rendered("gpu"))))["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "nvidia.com/gpu" not in container(head(rendered("gpu")))["resources"]["limits"]


def test_the_object_store_fits_into_shared_memory(rendered):
    """256 MiB, as on one machine (ray_jobs/cluster.py), in the smallest /dev/shm that the schema lets pass."""
    objects = rendered("seaweedfs")
    for group in (head(objects), *groups(objects).values()):
        assert int(group["rayStartParams"]["object-store-memory"]) == OBJECT_STORE_BYTES < 2**30


def test_a_gpu_group_asks_for_its_gpus_and_a_cpu_group_sees_none(rendered):
    gpu, cpu = groups(rendered("gpu"))["gpu"], groups(rendered("minimal"))["cpu"]
    assert container(gpu)["resources"]["limits"] == {"cpu": "32", "memory": "128Gi", "nvidia.com/gpu": "4"}
    assert gpu["rayStartParams"]["num-gpus"] == "4"  # Said, for KubeRay takes it from the limit of few resources only.
    assert "NVIDIA_VISIBLE_DEVICES" not in environment(container(gpu))
    assert (gpu["replicas"], gpu["minReplicas"], gpu["maxReplicas"]) == (2, 2, 2)
    shm = next(each for each in gpu["template"]["spec"]["volumes"] if each["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "32Gi"}
    assert cpu["rayStartParams"]["num-gpus"] == "0"
    assert environment(container(cpu))["NVIDIA_VISIBLE_DEVICES"] == "void"


NODES = "nodeSelector.node-pool=system,tolerations[0].key=dedicated,tolerations[0].effect=NoSchedule"


@pytest.mark.parametrize("scenario", ["gpu", "company-ca", "seaweedfs", "interactive"])
def test_every_pod_but_workers_goes_where_it_is_sent(scenario, rendered):
    """On a cluster whose pools are all tainted, a submitter that nothing sends anywhere would keep GPUs waiting."""
    seen = set()
    for where, labels, spec in pods(rendered(scenario, NODES)):
        seen.add(labels[COMPONENT])
        if labels[COMPONENT] != "worker":
            assert spec["nodeSelector"] == {"node-pool": "system"}, where
            (found,) = spec["tolerations"]
            assert (found["key"], found["effect"]) == ("dedicated", "NoSchedule"), where
        elif scenario == "gpu":
            assert spec["nodeSelector"] == {"node-pool": "a100"}, where
            assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        else:
            assert not {"nodeSelector", "tolerations"} & set(spec), where
    others = {"company-ca": {"exporter", "prepare"}, "seaweedfs": {"store"}}.get(scenario, set())
    assert seen == {"head", "worker", "submitter", "test"} | others


def test_a_pod_that_is_sent_nowhere_goes_anywhere(rendered):
    for where, _, spec in pods(rendered("minimal")):
        assert not {"nodeSelector", "tolerations"} & set(spec), where
    (store,) = [each for each in pods(rendered("seaweedfs")) if each.labels[COMPONENT] == "store"]
    assert not {"nodeSelector", "tolerations"} & set(store.spec)


def test_workers_are_spread_over_nodes_as_far_as_possible(rendered):
    (spread,) = groups(rendered("gpu"))["gpu"]["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    selected = spread["labelSelector"]["matchLabels"].items()
    assert selected <= groups(rendered("gpu"))["gpu"]["template"]["metadata"]["labels"].items()


# Ten seconds are left for Ray to stop; of fewer than 30 a third, rounded down.
@pytest.mark.parametrize(("grace", "deadline"), [(15, "10"), (20, "14"), (29, "20"), (30, "20"), (120, "110")])
def test_workers_drain_before_they_go_and_leave_ray_time_to_stop(grace, deadline, rendered):
    found = groups(rendered("spot", f"workerGroups[1].terminationGracePeriodSeconds={grace}"))["spot"]
    assert found["template"]["spec"]["terminationGracePeriodSeconds"] == grace
    assert container(found)["lifecycle"]["preStop"]["exec"]["command"][-1] == deadline


@pytest.mark.parametrize(("group", "grace", "deadline"), [("spot", 15, "10"), ("on-demand", 120, "110")])
def test_a_group_that_says_nothing_has_two_minutes_to_go(group, grace, deadline, rendered):
    found = groups(rendered("spot"))[group]
    assert found["template"]["spec"]["terminationGracePeriodSeconds"] == grace
    command = container(found)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["python", "-m", "ray_jobs.drain", "--deadline-s", deadline]


def test_ray_does_not_drain_a_node_a_second_time(rendered):
    """Ray 2.60 (node.py, _drain_node_before_shutdown): 0 ends it at once, the default after up to 30 s."""
    spec = cluster_spec(rendered("spot"))
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert environment(container(group))["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "0"


def test_spot_workers_can_be_told_apart(rendered):
    spot = {
        name: each["template"]["metadata"]["labels"]["histoseg.io/spot"]
        for name, each in groups(rendered("spot")).items()
    }
    assert spot == {"spot": "true", "on-demand": "false"}


def test_priorities(rendered):
    created = one(rendered("gpu"), "PriorityClass")
    assert (created["metadata"]["name"], created["value"]) == ("histoseg-training", 10000)
    assert head(rendered("gpu"))["template"]["spec"]["priorityClassName"] == "histoseg-training"
    assert groups(rendered("gpu"))["gpu"]["template"]["spec"]["priorityClassName"] == "histoseg-training"
    assert groups(rendered("spot"))["spot"]["template"]["spec"]["priorityClassName"] == "preemptible"
    assert "priorityClassName" not in groups(rendered("spot"))["on-demand"]["template"]["spec"]
    assert some(rendered("spot"), "PriorityClass") == []


def test_the_autoscaler_is_restricted_too_and_only_there_if_asked_for(rendered):
    spec = cluster_spec(rendered("autoscaling"))
    options = spec["autoscalerOptions"]
    assert spec["enableInTreeAutoscaling"] is True
    assert (options["version"], options["idleTimeoutSeconds"]) == ("v2", 120)
    assert options["securityContext"] == container(spec["headGroupSpec"])["securityContext"]
    assert options["resources"]["requests"] == options["resources"]["limits"]
    assert {mount["mountPath"] for mount in options["volumeMounts"]} == {"/tmp", "/home/histoseg"}
    gpu = groups(rendered("autoscaling"))["gpu"]
    assert (gpu["replicas"], gpu["minReplicas"], gpu["maxReplicas"]) == (0, 0, 8)
    # Version 2 of the autoscaler wants pods that do not restart in place.
    assert {each["template"]["spec"].get("restartPolicy") for each in (spec["headGroupSpec"], gpu)} == {"Never"}
    assert not {"enableInTreeAutoscaling", "autoscalerOptions"} & set(cluster_spec(rendered("minimal")))
    assert "restartPolicy" not in head(rendered("minimal"))["template"]["spec"]


def test_a_queue_is_named_by_labels(rendered):
    labels = ray_job(rendered("kueue"))["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "pathology"
    assert labels["kueue.x-k8s.io/priority-class"] == "overnight"
    assert settings(rendered("kueue"))["queue"] == "pathology"
    assert not [key for key in ray_job(rendered("minimal"))["metadata"]["labels"] if "kueue" in key]
    assert settings(rendered("minimal"))["queue"] == ""


def test_raw_data_is_mounted_where_it_is_read_and_cannot_be_written(rendered):
    """Not in workers: a volume that one node has at a time would keep all but one waiting."""
    objects = rendered("raw-data")
    assert settings(objects)["rawData"] == "/data"
    holders, claimants = set(), set()
    for where, labels, spec in pods(objects):
        if "persistentVolumeClaim" in str(spec["volumes"]):
            claimants.add(labels[COMPONENT])
        for mount in spec["containers"][0]["volumeMounts"]:
            if mount["mountPath"] == "/data":
                holders.add(labels[COMPONENT])
                assert mount["readOnly"] is True, where
                claim = next(each for each in spec["volumes"] if each["name"] == mount["name"])
                assert claim["persistentVolumeClaim"] == {"claimName": "raw-histology", "readOnly": True}, where
    assert holders == claimants == {"head", "prepare"}
    assert settings(rendered("minimal"))["rawData"] == ""
    assert "persistentVolumeClaim" not in str(pods(rendered("minimal")))


def test_preparing_waits_until_it_is_started_by_hand(rendered):
    job = one(rendered("raw-data"), "CronJob", "histology-histoseg-prepare")
    assert job["spec"]["suspend"] is True
    (found,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    command = (
        "histoseg prepare all --raw /data --store s3://histology/histoseg --experiment cerberus_table2 --scale paper"
    )
    assert [*found["command"], *found["args"]] == command.split()
    assert found["resources"]["limits"] == {"cpu": "16", "memory": "64Gi"}
    assert some(rendered("minimal"), "CronJob") == []
