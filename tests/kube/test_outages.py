"""The API server away, a login that expires, a Ctrl-C: the following ends or goes on, the job goes on."""

import signal
import threading
from dataclasses import replace

import pytest

from tests.kube.conftest import COMMAND
from tests.kube.kubelet import Log, stamped
from tests.kube.lab import ends, running, state
from tests.kube.proxy import Fault


class TestOutages:
    def test_a_short_one_is_said_and_survived(self, act, server, name):
        def fail(api, name):
            api.faults.append(Fault("GET", f"rayjobs/{name}", 503, "etcd is away", times=3))

        shown, _ = act([state("Initializing"), fail, state("Running", "RUNNING"), ends()])
        assert shown[-1].startswith(f"{name}: finished")
        said = [line for line in shown if "etcd" in line]
        assert len(said) == 1
        assert said[0].startswith(f"{name}: cannot be seen now, trying again: cannot get rayjobs.ray.io")

    def test_one_counts_from_the_last_look_however_long_the_log_has_been_read(self, act, pace, later, name):
        def fail(api, name):
            api.faults.append(Fault("GET", f"rayjobs/{name}", 503, "etcd is away"))

        script = [*running(Log(stamped(*map(str, range(20))))), *[later] * 10, fail, later, ends()]
        shown, _ = act(script, pace=replace(pace, outage_s=900.0))
        assert shown[-1].startswith(f"{name}: finished")
        assert "19" in shown

    def test_of_what_the_job_waits_for_it_does_not_hide_the_job(self, act, pace, later, name):
        def fail(api, name):
            api.faults.append(Fault("GET", "events", 500, "events are away", times=10**6))

        script = [state("Initializing"), fail, *[later] * 10, state("Running", "RUNNING"), ends()]
        shown, _ = act(script, pace=replace(pace, outage_s=900.0))
        assert shown[-1].startswith(f"{name}: finished")
        (said,) = [line for line in shown if "events are away" in line]
        assert said.startswith(f"{name}: cannot see what it waits for: cannot list events")

    def test_a_long_one_ends_the_following_and_not_the_job(self, act, server, name, mistake):
        def fail(api, name):
            api.faults.append(Fault("GET", f"rayjobs/{name}", 0, times=10**6))

        with pytest.raises(
            mistake, match=f"following ends after [01] s of this, but {name} may go on, and `{COMMAND}`"
        ):
            act([state("Initializing"), fail])
        assert server.rayjob(name) is not None

    @pytest.mark.parametrize(("status", "body"), [(401, "Unauthorized"), (200, "<html>Please log in</html>")])
    def test_a_login_that_expires_ends_the_following_and_not_the_job(self, status, body, act, server, name, mistake):
        def expire(api, name):
            api.faults.append(Fault("GET", f"rayjobs/{name}", status, body))

        with pytest.raises(mistake, match=f"log in again.*; {name} goes on all the same, and `{COMMAND}` follows it"):
            act([state("Initializing"), expire])

    def test_ctrl_c_leaves_the_job_running(self, act, server, name):
        def interrupt(api, name):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        shown = []
        with pytest.raises(KeyboardInterrupt):
            act([*running(Log(stamped("one"))), interrupt, *[lambda api, name: None] * 1000], shown=shown)
        left = f"{name}: left running; `{COMMAND}` follows it again, `{COMMAND} CANCEL=1` ends it"
        assert shown[-1] == left
        assert "deletionTimestamp" not in server.rayjob(name)["metadata"]
