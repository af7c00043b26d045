"""The follower, with a job that does what a test says; each kind of cluster has tests of its own."""

from types import SimpleNamespace

import pytest

from histoseg.errors import ClusterError
from histoseg.runs import follow as module
from histoseg.runs.follow import JobState, OutageError, Pace, Reason, cause_of, follow

COMMAND = "make submit EXP=table1"
RUNNING = JobState(text="running")
DONE = JobState(text="succeeded", is_over=True, has_succeeded=True)
FAILED = JobState(text="failed: no space left", is_over=True)


class Scripted:
    """A job whose looks give these states or errors, the last one for ever, and whose log gives these parts."""

    name = "job-1"

    def __init__(self, looks, parts=()):
        self.looks, self.parts = list(looks), list(parts)
        self.num_looks = 0

    def look(self, _notices):
        self.num_looks += 1
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, BaseException):
            raise found
        return found

    def new_lines(self, _state):
        for part in self.parts.pop(0) if self.parts else ():
            if isinstance(part, BaseException):
                raise part
            yield part


@pytest.fixture
def now(monkeypatch):
    """A clock that only `follow` moves, by its pauses."""
    seconds = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


@pytest.fixture
def shown():
    return []


@pytest.fixture
def run(now, shown):
    def sleep(pause_s):
        now[0] += pause_s

    def do(job, show=shown.append):
        follow(job, COMMAND, show, Pace(poll_s=5.0, outage_s=60.0), sleep)
        return shown

    return do


def test_changes_of_state_are_shown_once_and_lines_between(run):
    assert run(Scripted([RUNNING, RUNNING, DONE], [["one"], [], ["two"]])) == [
        "job-1: running",
        "one",
        "job-1: succeeded",
        "two",
    ]


def test_a_log_is_read_on_after_the_end_until_it_has_nothing_new(run):
    job = Scripted([DONE], [["one"], ["two"], [], ["never read"]])
    assert run(job) == ["job-1: succeeded", "one", "two"]
    assert job.num_looks == 1  # What is over stays over.


def pending(*reasons):
    return JobState(text="pending", reasons=tuple(Reason(kind=kind, text=text) for kind, text in reasons))


def test_why_a_job_waits_is_shown_when_the_reason_changes(run):
    waits = [pending(("no node", f"no node ({i} tried)")) for i in range(3)]
    assert run(Scripted([*waits, pending(("quota", "no quota")), DONE])) == [
        "job-1: pending",
        "job-1: no node (0 tried)",
        "job-1: no quota",
        "job-1: succeeded",
    ]


def test_each_of_several_reasons_is_shown_when_it_begins_to_hold(run):
    node, quota = ("no node", "no node"), ("quota", "no quota")
    shown = run(Scripted([pending(node), pending(quota, node), pending(node), pending(node, quota), DONE]))
    assert shown[1:-1] == ["job-1: no node", "job-1: no quota", "job-1: no quota"]


def test_a_failure_says_why_and_how_to_go_on(run):
    with pytest.raises(ClusterError, match=rf"^job-1: failed: no space left; .*`{COMMAND}`"):
        run(Scripted([FAILED]))


def test_only_a_log_that_was_shown_says_more(run):
    with pytest.raises(ClusterError, match="no space left; its log above says more; "):
        run(Scripted([RUNNING, FAILED], [["one"]]))
    with pytest.raises(ClusterError, match=f"no space left; `{COMMAND}`"):
        run(Scripted([RUNNING, FAILED]))


SENTENCE = "Job entrypoint command failed with exit code 1"
RAYS = f"{SENTENCE}, last available logs (truncated to 20,000 chars):"  # Ray 2.60


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (f"{RAYS}\n| **Glands** | 0.6 |\nhistoseg: 2 of 4 groups failed\n(pid=7) a late line", "2 of 4 groups failed"),
        (
            f"{RAYS}\nTraceback …\nray.exceptions.RayError: gone",
            f"{RAYS.partition(',')[0]}: ray.exceptions.RayError: gone",
        ),
        (f"{RAYS}\n| **Glands** | 0.6 |", RAYS.partition(",")[0]),
        ("The job supervisor died:\n its node is gone", "The job supervisor died:  its node is gone"),
        ("", ""),
    ],
)
def test_the_cause_of_a_failure_is_never_a_piece_of_the_table(message, cause):
    assert cause_of(message) == cause


def test_outages_that_are_short_are_survived_however_many(run):
    away = [OutageError("away") for _ in range(10)]
    looks = [look for pair in zip(away, [RUNNING] * 10, strict=True) for look in pair]
    shown = run(Scripted([*looks, DONE]))
    assert shown.count("job-1: cannot be seen now, trying again: away") == 10


def test_one_that_lasts_ends_the_following(run):
    with pytest.raises(ClusterError, match=r"^away; following ends after 65 s"):  # 13 pauses of 5 s exceed 60 s.
        run(Scripted([RUNNING, OutageError("away")]))


def test_an_outage_counts_from_its_first_failed_look_however_long_the_log_was_read(run, now):
    def slow(line):
        now[0] += 4.0
        shown.append(line)

    shown = []
    run(Scripted([RUNNING, *[RUNNING] * 15, OutageError("away"), DONE], [[str(i) for i in range(20)]]), slow)
    assert shown[-1] == "job-1: succeeded"


def test_a_busy_cluster_is_asked_when_it_says(run, now):
    run(Scripted([OutageError("busy", 30.0), DONE]))
    assert now == [30.0]


def test_a_job_that_is_gone_is_not_waited_for(run):
    with pytest.raises(ClusterError, match="was deleted"):
        run(Scripted([RUNNING, ClusterError("job-1: was deleted")]))


def test_a_log_that_cannot_be_read_is_said_once(run):
    refused = [[ClusterError("refused")] for _ in range(3)]
    assert run(Scripted([RUNNING, RUNNING, RUNNING, DONE], [*refused, ["the table"]])) == [
        "job-1: running",
        "job-1: cannot read its log: refused",
        "job-1: succeeded",
        "the table",
    ]


def test_the_state_is_asked_for_while_lines_come(run, now, shown):
    def slow(line):
        now[0] += 2.0
        shown.append(line)

    run(Scripted([RUNNING, DONE], [["one", "two", "three", "four"]]), slow)
    assert shown == ["job-1: running", "one", "two", "job-1: succeeded", "three", "four"]


def test_ctrl_c_leaves_the_job_running(run, shown):
    with pytest.raises(KeyboardInterrupt):
        run(Scripted([RUNNING, KeyboardInterrupt()]))
    assert shown[-1] == f"job-1: left running; `{COMMAND}` follows it again, `{COMMAND} CANCEL=1` ends it"
