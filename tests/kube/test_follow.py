import signal
import threading
import time
from dataclasses import replace

import pytest
import yaml

from histoseg.kube.api import Cluster
from histoseg.kube.log import SLACK_S, PodLog, split_stamp
from histoseg.kube.rayjob import manifest
from histoseg.kube.submit import dry_run
from histoseg.runs.job import request_of
from tests.kube.conftest import COMMAND
from tests.kube.example import spoilt
from tests.kube.kubelet import Log, stamped
from tests.kube.lab import RAYJOBS, both, ends, running, state, status_body, submitter
from tests.kube.proxy import Fault

STARTING = [state(""), state("Initializing"), state("Initializing", ray_cluster={"readyWorkerReplicas": 2})]
NODE_LOST = 'Get "https://10.0.0.7:10250/containerLogs/team/x": dial tcp 10.0.0.7:10250: i/o timeout'
LIVE = {"status": {"jobDeploymentStatus": "Running"}}


def unchanged(api, name):
    """A look at which there is nothing new."""


class TestSubmit:
    def test_from_creation_to_results(self, act, server, name):
        shown, found = act([*STARTING, *running(Log(stamped("one", "two"))), ends()])
        results = f"s3://bucket/prefix/results/table1/{name}"
        assert shown == [
            f"{name}: created in namespace team of lab; its results go to {results}",
            f"{name}: waits for KubeRay",
            f"{name}: starting, workers: 0 of 2 ready",
            f"{name}: starting, workers: 2 of 2 ready",
            f"{name}: running, workers: 2 of 2 ready",
            "one",
            "two",
            f"{name}: succeeded",
            f"{name}: finished; results: {results} (`{COMMAND} RESULTS=1` copies them here)",
        ]
        assert found == results
        assert server.rayjob(name)["spec"]["jobId"] == name

    def test_a_failure_says_why(self, act, name, mistake):
        end = ends("Failed", "FAILED", reason="AppFailed", message="exit code 1,\n last line: no space left")
        expected = f"{name}: failed: AppFailed: exit code 1, last line: no space left; its log above says more;"
        with pytest.raises(mistake, match=expected) as caught:
            act([*running(Log(stamped("one"))), end])
        assert "\n" not in str(caught.value)

    def test_a_failure_before_there_was_a_log_promises_none(self, act, mistake):
        end = ends("Failed", "", reason="PreRunningDeadlineExceeded", message="the job was not running in time")
        with pytest.raises(mistake, match=f"not running in time; `{COMMAND}` tries again") as caught:
            act([state("Initializing"), end])
        assert "log" not in str(caught.value)

    def test_a_job_that_was_stopped_has_not_succeeded(self, act, mistake):
        with pytest.raises(mistake, match="ended as STOPPED"):
            act([ends("Complete", "STOPPED")])

    def test_a_job_that_kuberay_refuses(self, act, mistake):
        end = state("ValidationFailed", reason="ValidationFailed", message="the RayJob spec is invalid")
        with pytest.raises(mistake, match="refused by KubeRay: ValidationFailed: the RayJob spec is invalid"):
            act([end])

    def test_a_missing_right_leaves_nothing_behind(self, act, server, name, mistake):
        server.refuse("create rayjobs")
        with pytest.raises(mistake, match="which the Role histoseg-researcher grants"):
            act([ends()])
        assert server.rayjob(name) is None

    def test_gone_while_followed(self, act, server, name, mistake):
        def vanish(api, name):
            api.let_go(name)

        with pytest.raises(mistake, match=f"{name}: was deleted while it was followed; `{COMMAND}` submits it again"):
            act([state("Initializing"), vanish])

    def test_dry_run_shows_and_sends_nothing(self, job, settings, server, name):
        shown = yaml.safe_load(dry_run(job, settings, COMMAND))
        assert (shown["kind"], shown["metadata"]["name"]) == ("RayJob", name)
        assert server.proxy.asked == []


class TestAgain:
    def test_a_running_one_is_followed(self, act, server, name):
        act([*running(Log(stamped("one"))), state("Running", "RUNNING"), ends()])
        server.patch(name, **LIVE)
        server.continue_with(name, [state("Running", "RUNNING"), ends()])
        shown, _ = act()
        assert shown[0] == f"{name}: exists already (running, workers: 2 of 2 ready); attached to it"
        assert len(server.requests("POST", "rayjobs")) == 1

    def test_a_finished_one_is_said_to_be(self, act, server, name):
        act([ends()])
        shown, _ = act()
        again = f"`{COMMAND} CANCEL=1`, then the same command, runs what has no record in the store now"
        assert shown[0] == f"{name}: exists already (succeeded); attached to it; {again}"
        assert shown[-1].endswith(f"(`{COMMAND} RESULTS=1` copies them here)")

    def test_a_failed_one_is_replaced_when_it_is_gone(self, act, server, name, mistake):
        with pytest.raises(mistake):
            act([ends("Failed", "FAILED", reason="AppFailed")])
        first = server.rayjob(name)["metadata"]["uid"]
        shown, _ = act([ends()])
        assert shown[0].startswith(f"{name}: an earlier one failed: AppFailed; submitting it again")
        assert shown[1].startswith(f"{name}: created in namespace team")
        assert len(server.requests("DELETE", f"rayjobs/{name}")) == 1
        assert len(server.requests("POST", "rayjobs")) == 2
        assert server.rayjob(name)["metadata"]["uid"] != first

    def test_another_who_replaces_it_first_is_joined(self, act, server, cluster, name, mistake, monkeypatch):
        """Between our look at the failed one and our deletion of it."""
        with pytest.raises(mistake):
            act([ends("Failed", "FAILED", reason="AppFailed")])
        delete, failed = Cluster.delete_rayjob, server.rayjob(name)
        made = {"spec": failed["spec"], "metadata": {"labels": failed["metadata"]["labels"]}}

        def late(self, name, uid):
            server.let_go(name)
            server.put(RAYJOBS, name, {**made, **LIVE})
            server.continue_with(name, [state("Running", "RUNNING"), ends()])
            return delete(self, name, uid)

        monkeypatch.setattr(Cluster, "delete_rayjob", late)
        shown, _ = act()
        assert shown[1].startswith(f"{name}: exists already (running")

    def test_ctrl_c_before_the_new_one_is_there_says_so(self, act, server, name, mistake):
        def interrupt(_path):
            if "deletionTimestamp" in server.rayjob(name)["metadata"]:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        with pytest.raises(mistake):
            act([ends("Failed", "FAILED", reason="AppFailed")])
        server.proxy.seen = interrupt
        shown = []
        with pytest.raises(KeyboardInterrupt):
            act(shown=shown)
        assert shown[-1] == f"{name}: the earlier one is deleted, and no new one is created yet; `{COMMAND}` creates it"
        assert len(server.requests("POST", "rayjobs")) == 1

    def test_one_that_is_being_deleted_is_awaited(self, act, server, cluster, name):
        act([ends()])
        cluster.delete_rayjob(name, server.rayjob(name)["metadata"]["uid"])
        shown, _ = act([ends()])
        assert shown[0] == f"{name}: an earlier one is being deleted; waiting until it is gone"
        assert shown[1].startswith(f"{name}: created in namespace team")

    def test_but_not_for_ever(self, act, server, cluster, name, mistake):
        act([ends()])
        server.looks_until_gone = 10**6
        cluster.delete_rayjob(name, server.rayjob(name)["metadata"]["uid"])
        with pytest.raises(mistake, match=r"is still being deleted after 0.5 s; see that the KubeRay operator runs"):
            act([ends()])

    def test_a_live_one_with_other_workers_does_the_same(self, act, server, job, settings, name):
        """Another number of workers for each run, on a release that came to have more of them: no result changes."""
        act([ends()])
        server.patch(name, **LIVE)
        server.continue_with(name, [state("Running", "RUNNING"), ends()])
        template = spoilt(settings.template, {"spec.rayClusterSpec.workerGroupSpecs.0.replicas": 3})
        shown, _ = act(job=replace(job, workers=1), settings=replace(settings, template=template))
        live = request_of(server.rayjob(name)["spec"]["entrypoint"])
        assert live == replace(job, capacity=("CPU=8", "GPU=2"), submission=live.submission)
        assert shown[0].endswith("which goes on with the workers and listeners that it was submitted with")

    def test_each_rayjob_has_an_id_that_its_attempts_share(self, act, server, cluster, name):
        """KubeRay starts each attempt by the same entrypoint; a job that is submitted again is another one."""
        ids = []
        for _ in range(2):
            act([ends()])
            ids.append(request_of(server.rayjob(name)["spec"]["entrypoint"]).submission)
            cluster.delete_rayjob(name, server.rayjob(name)["metadata"]["uid"])
        assert all(ids)
        assert len(set(ids)) == 2

    @pytest.mark.parametrize("other", ["python -m ray_jobs.driver --experiment=table1 --seeds=9", "sleep 1"])
    def test_a_live_one_with_another_entrypoint_is_refused(self, other, act, server, name, mistake):
        act([ends()])
        server.patch(name, **LIVE, spec={"entrypoint": other})
        with pytest.raises(mistake, match=rf"with another entrypoint: {other}, not python .*--seeds=3"):
            act()

    def test_so_is_one_with_another_image(self, act, server, name, mistake):
        act([ends()])
        containers = [{"name": "ray-head", "image": "registry/other:1"}]
        change = {"headGroupSpec": {"template": {"spec": {"containers": containers}}}}
        server.patch(name, spec={"rayClusterSpec": change}, **LIVE)
        with pytest.raises(mistake, match=r"with another image: .*registry/other:1, not registry.example/histoseg"):
            act()

    def test_a_foreign_one_is_left_alone(self, act, server, name, mistake):
        server.put(RAYJOBS, name, {"spec": {}, "status": {"jobDeploymentStatus": "Failed"}})
        with pytest.raises(mistake, match=f"RayJob {name} was not made by histoseg"):
            act()
        assert server.requests("DELETE", name) == []

    def test_somebody_else_was_faster(self, act, server, cluster, job, settings, name):
        """The name is free when it is looked up, and taken when it is to be created."""
        cluster.create_rayjob(manifest(job, settings, COMMAND))
        missing = status_body(404, "NotFound", "not found", name=name, kind="rayjobs")
        server.faults.append(Fault("GET", name, 404, missing))
        shown, _ = act([state(""), ends()])
        assert "attached to it" in shown[0]


class TestLogs:
    def lines(self, shown):
        return [line for line in shown if not line.startswith("table1-")]

    def test_a_break_loses_and_repeats_nothing(self, act, server):
        texts = ["same", "same", *(f"line {i}" for i in range(200))]
        stamps = stamped(*texts)
        stamps[1] = (stamps[0][0], "same")  # two lines of one moment, between which it breaks first
        log = Log(stamps, breaks=[1, 60, 150])
        shown, _ = act([*running(log), ends()])
        assert self.lines(shown) == texts
        first, *others = [request.params.get("sinceSeconds") for request in server.requests("GET", "log")]
        assert first is None
        assert all(int(seconds) > 60 for seconds in others)

    def test_continues_as_far_back_as_the_silence_lasted(self):
        """A node's clock may run ahead of ours: then only what we measured counts."""
        log = PodLog()
        log._newest, log._received_s = int((time.time() + 3600) * 1e9), time.monotonic() - 100
        assert log._seconds_back() == 100 + SLACK_S

    def test_a_new_submitter_repeats_nothing(self, act, pace):
        first = Log(stamped("submitted", "one", "two", "two"))
        second = Log(stamped("found it", "one", "two", "two", "two", "three", first=60))
        third = Log(stamped("one", "two", "two", "two", "three", "four", first=120))
        state_2, state_3 = running(second, 2), running(third, 3)
        shown, _ = act([*running(first), *state_2, *state_3, ends()], pace=replace(pace, poll_s=10.0))
        assert self.lines(shown) == ["submitted", "one", "two", "two", "found it", "two", "three", "four"]

    def test_another_attempt_is_told_in_full(self, act):
        again = state("Retrying", "FAILED", reason="AppFailed")
        second = running(Log(stamped("one", "two", first=60)), 2, attempt=2)
        shown, _ = act([*running(Log(stamped("one"))), again, *second, ends(attempt=2)])
        assert self.lines(shown) == ["one", "one", "two"]

    def test_the_end_of_the_log_is_read_after_the_job_has_ended(self, act):
        log = Log(stamped("one", "two", "three"), breaks=[1, 2])
        shown, _ = act([both(submitter(log), ends())])
        assert self.lines(shown) == ["one", "two", "three"]

    def test_a_job_that_ends_in_silence_is_noticed(self, act, server):
        shown, _ = act([*running(Log(stamped("one"), over=False)), ends()])
        assert "one" in shown

    def test_a_state_that_changes_while_lines_come_is_said(self, act):
        one_lost = state("Running", "RUNNING", 1, {"readyWorkerReplicas": 1})
        shown, _ = act([*running(Log(stamped("one", "two", "three"))), one_lost, ends()])
        assert any("running, workers: 1 of 2 ready" in line for line in shown[: shown.index("three")])

    def test_a_log_that_was_collected_is_said_to_be_and_ends_with_the_job(self, act):
        log, said = Log(stamped("one")), "unable to retrieve container logs for containerd://1f2e"

        def collect(api, name):
            log.instead = said

        shown, _ = act([*running(log), collect, unchanged, ends()])
        assert self.lines(shown) == ["one", said]

    def test_a_node_that_is_lost_takes_the_log_and_not_the_following(self, act, pace, later, name):
        """For longer than an outage may last."""

        def lose(api, name):
            body = status_body(500, "InternalError", NODE_LOST)
            api.faults.append(Fault("GET", "log", 500, body, times=10**6))

        script = [*running(Log(stamped("one"))), lose, *[later] * 10, state("Running", "RUNNING"), ends()]
        shown, _ = act(script, pace=replace(pace, outage_s=900.0))
        (said,) = [line for line in shown if NODE_LOST in line]
        assert said.startswith(f"{name}: cannot read its log: cannot get pods/log")
        assert "VPN" not in said
        assert shown.index(said) < shown.index(f"{name}: running, workers: 0 of 2 ready") < len(shown) - 1
        assert shown[-1].startswith(f"{name}: finished")

    def test_a_log_that_is_back_is_shown_and_may_be_lost_again(self, act):
        log = Log(stamped("one"))

        def lose(api, name):
            api.faults.append(Fault("GET", "log", 500, status_body(500, "InternalError", NODE_LOST), times=2))

        def write(api, name):
            log.lines += stamped("two", first=1)

        shown, _ = act([*running(log), lose, unchanged, write, unchanged, lose, unchanged, unchanged, ends()])
        is_lost = [NODE_LOST in line for line in shown if NODE_LOST in line or line in ("one", "two")]
        assert is_lost == [False, True, False, True]

    def test_a_server_that_is_busy_when_the_job_ends_does_not_cost_its_last_lines(self, act):
        busy = Fault("GET", "log", 503, "busy", times=2)
        shown, _ = act([both(submitter(Log(stamped("the table"))), ends(), lambda api, name: api.faults.append(busy))])
        assert self.lines(shown) == ["the table"]

    def test_without_the_right_to_read_logs_the_job_is_followed_all_the_same(self, act, server, name):
        server.refuse("list pods")
        shown, _ = act([state("Initializing"), state("Running", "RUNNING"), ends()])
        assert shown[-1].startswith(f"{name}: finished")
        said = [line for line in shown if "may not list pods" in line]
        assert [line.partition(": may not")[0] for line in said] == [
            f"{name}: cannot see what it waits for",
            f"{name}: cannot read its log",
        ]

    @pytest.mark.parametrize(
        ("line", "moment", "text"),
        [  # seconds since 1970 by `date -u -d … +%s`
            ("2025-01-01T00:00:00.5Z a b", 1735689600_500000000, "a b"),
            ("2025-01-01T00:00:00.000000001Z ", 1735689600_000000001, ""),
            ("2025-01-01T02:00:00+02:00 a", 1735689600_000000000, "a"),
            ("unable to retrieve container logs", 0, "unable to retrieve container logs"),
        ],
    )
    def test_times_of_lines(self, line, moment, text):
        assert split_stamp(line) == (moment, text)
