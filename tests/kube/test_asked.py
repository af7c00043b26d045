"""What is asked about a job without following it: how it stands, where its results are, that it end."""

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
            f"{'NAME':{width}}  EXPERIMENT  SINCE                 STATE",
            f"{name}  table1      2025-01-01T00:00:10Z  succeeded",
        ]

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
