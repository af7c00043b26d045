"""What is asked about a job without following it: how it stands, where its results are, that it end."""

import re

import pytest

from histoseg.kube.jobs import cancel, results_of, status
from histoseg.kube.rayjob import manifest
from tests.kube.conftest import COMMAND
from tests.kube.lab import RAYJOBS, both, ends, ray_pod, state, waiting


class TestStatus:
    def test_of_one_job(self, act, server, cluster, name):
        act([ends(startTime="2025-01-01T00:00:10Z", endTime="2025-01-01T01:00:00Z")])
        assert status(cluster, name).splitlines() == [
            f"{name}: succeeded",
            "since 2025-01-01T01:00:00Z, workers: 2 of 2 ready",
            f"results: s3://bucket/prefix/results/table1/{name}",
        ]

    def test_says_what_is_in_the_way(self, server, cluster, job, settings, name):
        cluster.create_rayjob(manifest(job, settings, COMMAND))
        pod = ray_pod("gpu", waiting("ErrImagePull", "not found"))
        both(state("Initializing"), pod)(server, name)
        assert "registry/none:1 cannot be pulled" in status(cluster, name)

    def test_of_one_that_is_being_deleted(self, act, server, cluster, name):
        act([ends()])
        cluster.delete_rayjob(name, server.rayjob(name)["metadata"]["uid"])
        assert status(cluster, name).startswith(f"{name}: being deleted\n")

    def test_of_a_job_that_is_not_there(self, cluster, mistake):
        with pytest.raises(mistake, match="no job x in namespace 'team' of 'lab': not submitted yet, or finished"):
            status(cluster, "x")

    def test_of_all_is_a_table_of_ours(self, act, server, cluster, name):
        act([ends(startTime="2025-01-01T00:00:10Z")])
        server.put(RAYJOBS, "foreign", {"spec": {}})
        width = len(name)
        assert status(cluster).splitlines() == [
            f"{'NAME':{width}}  EXPERIMENT  SINCE                 STATE      WAITS FOR",
            f"{name}  table1      2025-01-01T00:00:10Z  succeeded",
        ]

    def test_of_all_says_what_each_waits_for(self, server, cluster, job, settings, name):
        cluster.create_rayjob(manifest(job, settings, COMMAND))
        pod = ray_pod("gpu", waiting("ErrImagePull", "not found"))
        both(state("Initializing"), pod)(server, name)
        (line,) = status(cluster).splitlines()[1:]
        assert re.search(f"starting, workers: 0 of 2 ready +{name}-gpu: image registry/none:1 cannot be pulled", line)

    def test_of_a_release_leaves_out_those_of_others(self, server, cluster):
        for release in ("one", "two"):
            labels = {"histoseg.io/job": f"smoke-{release}", "app.kubernetes.io/instance": release}
            server.put(RAYJOBS, f"smoke-{release}", {"metadata": {"labels": labels}, "spec": {"suspend": True}})
        assert ["smoke-one" in status(cluster), "smoke-two" in status(cluster)] == [True, True]
        assert ["smoke-one" in (of_two := status(cluster, "", "two")), "smoke-two" in of_two] == [False, True]
        assert status(cluster, "", "three") == "no jobs of release 'three' in namespace 'team' of 'lab'"

    def test_of_a_failed_one_shows_its_cause_and_not_its_table(self, act, cluster, name, mistake):
        """As Ray 2.60 words it (job_manager.py): its own sentence, and the last 20,000 characters of the log."""
        log = ["| **Glands** | 0.613 |", "- 1 of 2 cells are finished.", "histoseg: 1 of 2 groups failed: loss is nan"]
        said = "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):"
        with pytest.raises(mistake):
            act([ends("Failed", "FAILED", reason="AppFailed", message="\n".join([said, *log]))])
        assert status(cluster, name).splitlines()[0] == f"{name}: failed: AppFailed: 1 of 2 groups failed: loss is nan"

    def test_of_a_failed_one_shows_what_its_pods_died_of(self, act, cluster, name, mistake):
        killed = {"name": "ray-head", "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
        pod = ray_pod("head", {"phase": "Running", "containerStatuses": [killed]})
        end = ends("Failed", "", reason="SubmissionFailed", message="the head is gone")
        with pytest.raises(mistake):
            act([both(state("Running", "RUNNING"), pod), end])
        assert "container ray-head was killed for its memory (OOMKilled" in status(cluster, name)

    def test_of_one_that_is_tried_again_counts_the_attempts(self, server, cluster, job, settings, name):
        """KubeRay starts a job again whose pods did not come in time, each time with the whole deadline."""
        cluster.create_rayjob(manifest(job, settings, COMMAND))
        state("Initializing", failed=1)(server, name)
        assert "starting again (attempt 2 of 3), workers: 0 of 2 ready" in status(cluster, name)  # backoffLimit: 2

    def test_of_none(self, cluster):
        assert status(cluster) == "no jobs in namespace 'team' of 'lab'"


class TestResults:
    def test_are_where_the_job_says(self, act, cluster, name):
        act([ends()])
        assert results_of(cluster, name) == f"s3://bucket/prefix/results/table1/{name}"

    def test_of_a_job_that_is_not_there(self, cluster, mistake):
        with pytest.raises(mistake, match=r"no job x in namespace 'team' of 'lab': .*, at results/<experiment>/x$"):
            results_of(cluster, "x")

    def test_of_what_somebody_else_made(self, server, cluster, mistake):
        server.put(RAYJOBS, "theirs", {"spec": {}})
        with pytest.raises(mistake, match=r"RayJob theirs does not say where .* \(no annotation histoseg.io/results\)"):
            results_of(cluster, "theirs")


class TestCancel:
    def test_once_and_again(self, act, server, cluster, name):
        act([ends()])
        server.looks_until_gone = 2
        assert [cancel(cluster, name) for _ in range(4)] == [
            f"{name}: cancelled; its Ray cluster and pods go with it, what it finished stays in the store",
            f"{name}: is being deleted already",
            f"{name}: is being deleted already",
            f"{name}: does not exist; nothing to cancel",
        ]
        assert len(server.requests("DELETE", name)) == 1

    def test_not_what_somebody_else_made(self, server, cluster, mistake):
        server.put(RAYJOBS, "theirs", {"spec": {}})
        with pytest.raises(mistake, match="RayJob theirs was not made by histoseg"):
            cancel(cluster, "theirs")
