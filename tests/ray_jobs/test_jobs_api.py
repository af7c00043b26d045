"""A job on a Ray that is there, followed through what may happen to its dashboard."""

import asyncio
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from histoseg.errors import ClusterError
from histoseg.runs.follow import Pace
from histoseg.runs.follow import follow as run_follower
from histoseg.runs.request import Request
from ray_jobs.jobs_api import FollowedSubmission, RayJobs

ASKED = Request(experiment="table1", scale="paper", seeds=3, store="s3://bucket/prefix", workers=2)
COMMAND = "make submit EXP=table1 RAY_ADDRESS=http://host:8265"
BROKEN = RuntimeError("WebSocket connection closed unexpectedly with close code 1006")
AWAY = ConnectionError("Failed to connect to Ray at address: http://host:8265.")


class Dashboard:
    """Ray's client, as far as following needs it.

    Attributes:
        states: What each look at the job finds, the last one for ever; an error is raised.
        connections: What each connection to the log brings: chunks, pauses in seconds, and an error if it breaks.
            Without any left, there is none to be had.
        log: All that the driver has written.
    """

    def __init__(self, states, connections, log=""):
        self.states, self.connections, self.log = states, connections, log
        self.done = []  # What was asked of it
        self.refusals = {}  # The errors of what it refuses
        self.message = "histoseg: no space left"

    def list_jobs(self):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        found = SimpleNamespace(
            submission_id=self.name, status=SimpleNamespace(value=state), message=self.message, start_time=0
        )
        return [found] if state else []

    async def tail_job_logs(self, _name):
        for part in self.connections.pop(0) if self.connections else [BROKEN]:
            if isinstance(part, Exception):
                raise part
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                yield part

    def submit_job(self, **asked):
        self._do("submit")

    def delete_job(self, _name):
        self._do("delete")

    def _do(self, what):
        self.done.append(what)
        if what in self.refusals:
            raise self.refusals.pop(what)

    def get_job_logs(self, _name):
        if isinstance(self.log, Exception):
            raise self.log
        return self.log


PACE = Pace(poll_s=0.01, silence_s=1.0, outage_s=0.5)


@pytest.fixture
def follow(monkeypatch):
    """Attach to the job that a dashboard has; gives what was shown after the line that says so."""

    def do(dashboard):
        ray = RayJobs(address="http://host:8265", pace=PACE)
        monkeypatch.setattr(RayJobs, "client", lambda _self: dashboard)
        request = ray.addressed(ASKED)
        dashboard.name = request.name
        dashboard.states.insert(0, "RUNNING")
        shown = []
        ray.submit(request, COMMAND, shown.append)
        first, *rest = shown
        assert first == f"{request.name}: is running already"
        return rest

    return do


def lines(shown):
    """The log without the lines about the job."""
    return [line for line in shown if not line.startswith("table1-")]


def test_a_job_is_followed_to_its_end(follow):
    log = ["one\n", "two\nthree\n"]
    shown = follow(Dashboard(["RUNNING", "SUCCEEDED"], [log], "".join(log)))
    assert lines(shown) == ["one", "two", "three"]
    about = [line.partition(": ")[2] for line in shown if line not in ("one", "two", "three")]
    assert about == ["running", "succeeded"]


@pytest.mark.parametrize(
    ("message", "cause"),
    [("exit code 1\nhistoseg: no space left", ": no space left"), ("", "; its log above says more")],
)
def test_a_job_that_fails_says_why(follow, message, cause):
    dashboard = Dashboard(["RUNNING", "FAILED"], [["one\n"]], "one\n")
    dashboard.message = message
    with pytest.raises(ClusterError, match=rf"table1-\w+: failed{cause}.*`{COMMAND}`"):
        follow(dashboard)


def test_a_dashboard_that_restarts_after_a_long_log_is_waited_for(follow):
    """Lines came for longer than the patience; then one connection breaks and one look fails."""
    connections = [["one\n", 0.6, "two\n", BROKEN], ["one\n", "two\n", "three\n"]]
    shown = follow(Dashboard(["RUNNING", "RUNNING", "RUNNING", AWAY, "SUCCEEDED"], connections, "one\ntwo\nthree\n"))
    assert lines(shown) == ["one", "two", "three"]


def test_so_is_one_that_restarts_after_a_long_silence(follow):
    connections = [["one\n", 0.6, BROKEN], ["one\n", "two\n"]]
    assert lines(follow(Dashboard(["RUNNING", AWAY, "SUCCEEDED"], connections, "one\ntwo\n"))) == ["one", "two"]


def test_one_that_stays_away_is_not_waited_for_for_ever(follow):
    with pytest.raises(ClusterError, match=r"Failed to connect to Ray.*following ends.*table1-\w+ may go on"):
        follow(Dashboard(["RUNNING", AWAY], [["one\n", BROKEN]]))


def test_not_even_if_it_still_has_the_log(follow):
    with pytest.raises(ClusterError, match="following ends"):
        follow(Dashboard(["RUNNING", AWAY], [["one\n"] for _ in range(10**4)]))


def test_a_job_that_is_forgotten_is_lost(follow):
    with pytest.raises(ClusterError, match=r"http://host:8265 knows no job table1-\w+ any more; following ends"):
        follow(Dashboard(["RUNNING", ""], [["one\n", BROKEN]]))


@pytest.mark.parametrize("last", [BROKEN, ""])  # a dashboard that is told to stop closes its connections in good order
def test_what_was_written_while_the_connection_was_broken_is_shown_at_the_end(follow, last):
    connections = [["one\n", "tw", *([last] if last else [])]]
    shown = follow(Dashboard(["RUNNING", "SUCCEEDED"], connections, "one\ntwo\nthe table"))
    assert lines(shown) == ["one", "two", "the table"]


def test_a_connection_that_breaks_again_and_again_repeats_nothing(follow):
    connections = [["one\n", BROKEN], ["one\n", "two\n", BROKEN], ["one\n", BROKEN], ["one\n", "two\nthree\n"]]
    states = ["RUNNING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    assert lines(follow(Dashboard(states, connections, "one\ntwo\nthree\n"))) == ["one", "two", "three"]


def test_a_log_that_cannot_be_had_is_said_once_and_the_job_followed_all_the_same(follow):
    """As behind a proxy that lets no WebSocket through: what the dashboard says itself is enough."""
    refused = [[OSError("400, message='Invalid response status'")] for _ in range(100)]
    shown = follow(Dashboard(["RUNNING"] * 90 + ["SUCCEEDED"], refused, "the table\n"))
    (trouble,) = [line for line in shown if "read its log" in line]
    assert trouble.endswith("400, message='Invalid response status'")
    assert shown[-1] == "the table"


def test_a_rest_of_the_log_that_cannot_be_had_does_not_change_how_the_job_ended(follow):
    *_, last = follow(Dashboard(["RUNNING", "SUCCEEDED"], [["one\n", BROKEN]], AWAY))
    assert "cannot read its log: http://host:8265: Failed to connect to Ray" in last


def test_a_log_that_falls_silent_for_ever_hides_no_end(follow):
    """As after a VPN was cut: nobody closes the connection."""
    connections = [["one\n", 10**6 * 1.0], [10**6 * 1.0]]
    shown = follow(Dashboard(["RUNNING", "RUNNING", "SUCCEEDED"], connections, "one\ntwo\n"))
    assert lines(shown) == ["one", "two"]


def test_a_reader_that_goes_is_not_taken_for_a_broken_log():
    def show(line):
        if line == "one":
            raise BrokenPipeError

    dashboard = Dashboard(["RUNNING"], [["one\n"]])
    dashboard.name = "x"
    with pytest.raises(BrokenPipeError):
        run_follower(FollowedSubmission(RayJobs(address="http://host", pace=PACE), dashboard, "x"), COMMAND, show, PACE)


# What the dashboard answers where its agent refused, with the agent's own answer within.
TAKEN = RuntimeError(
    'Request failed with status code 500: Traceback (most recent call last):\n  File "job_head.py", line 418\n'
    "RuntimeError: Request failed with status code 400: Traceback (most recent call last):\n"
    "ValueError: Job with submission_id x already exists.\n.\n."
)
GONE = RuntimeError("Request failed with status code 404: Job x does not exist.")


@pytest.fixture
def ensure(monkeypatch):
    """Makes sure that a dashboard, which has such states and such refusals, has a job; gives what it found and did."""

    def do(states, **refusals):
        dashboard = Dashboard(states, [])
        dashboard.name, dashboard.refusals = "x", refusals
        ray = RayJobs(address="http://me:secret@host")
        found = ray._create(dashboard, {"submission_id": "x"}, lambda _line: None)
        return found, dashboard.done

    return do


def test_of_two_who_submit_at_the_same_moment_both_follow(ensure):
    assert ensure(["", "RUNNING"], submit=TAKEN) == ("RUNNING", ["submit"])
    assert ensure(["FAILED", "RUNNING"], delete=TAKEN) == ("RUNNING", ["delete"])
    assert ensure(["FAILED", ""], delete=GONE) == ("", ["delete", "submit"])


def test_what_ray_refuses_is_its_own_words_in_one_line(ensure):
    says = "http://host: ValueError: Job with submission_id x already exists; repeat the command"
    with pytest.raises(ClusterError, match=rf"^{re.escape(says)}$"):
        ensure([""], submit=TAKEN)


def test_the_address_is_doubted_where_nobody_answers_and_its_password_not_shown(ensure):
    away = ConnectionError("Failed to connect to Ray at address: http://me:secret@host.")
    says = "http://host: Failed to connect to Ray at address: http://host; RAY_ADDRESS must be the dashboard's address"
    with pytest.raises(ClusterError, match=rf"^{re.escape(says)}"):
        ensure([""], submit=away)


def test_a_token_with_a_line_break_is_not_shown():
    """Ray's client raises an error with the whole header. It keeps the first token, so this is another process."""
    code = "from ray_jobs.jobs_api import RayJobs; RayJobs(address='http://127.0.0.1:9').client()"
    environment = {**os.environ, "RAY_AUTH_TOKEN": "Sesame\nopen"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "ClusterError: http://127.0.0.1:9: the token holds a line break" in done.stderr
    assert "Sesame" not in done.stderr
