"""The texts below are those of Ray 2.60 for a process that was killed and for one that its memory monitor ended."""

import pytest

from histoseg.errors import ConfigError
from ray_jobs.failures import ReclaimedError, first_line, loss_of

pytestmark = [
    pytest.mark.slow,  # For Ray may be imported only where the one Ray of all tests is started.
    pytest.mark.usefixtures("cluster"),
]

KILLED = """The actor died unexpectedly before finishing this task.
	class_name: ImplicitFunc
	actor_id: d8823fa000c23285027b516601000000
	pid: 9610
	namespace: 56ef1a7d
	ip: 10.0.0.7
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker
unexpectedly exits with a connection error code 2. End of file."""
OUT_OF_MEMORY = """1 worker(s) were killed due to the node running low on memory. \
Memory on the node (IP: 10.0.0.8, ID: d1f0) was 13.00GB used / 23.54GB limit (0.552198)
OOM kill reason: Memory usage 13915336704B exceeded threshold of 13902081024B (55.0% of 25276510208B limit)"""


@pytest.fixture
def ray_errors():
    """Ray's exceptions."""
    from ray import exceptions

    return exceptions


def test_a_killed_process_is_a_loss_on_its_node(ray_errors):
    loss = loss_of(ray_errors.RayActorError(error_msg=KILLED))
    assert (loss.text, loss.was_memory) == ("its process on node 10.0.0.7 was killed or crashed", False)


def test_a_loss_of_memory_says_which_node_how_much_and_what_to_raise(ray_errors):
    for error in (ray_errors.OutOfMemoryError(OUT_OF_MEMORY), ray_errors.RayActorError(error_msg=OUT_OF_MEMORY)):
        loss = loss_of(error)
        assert loss.was_memory
        assert "node 10.0.0.8 ran out of memory (13.00GB of 23.54GB in use)" in loss.text
        assert "workerGroups" in loss.text
        assert "\n" not in loss.text


def test_a_lost_node_and_a_reclaimed_one_are_losses(ray_errors):
    assert loss_of(ray_errors.NodeDiedError("ip: 10.0.0.9")).text == "node 10.0.0.9 was lost"
    assert loss_of(ReclaimedError("ip: 10.0.0.9")).text == "node 10.0.0.9 is being taken away"


def test_a_program_s_own_error_is_no_loss():
    assert loss_of(ZeroDivisionError("ip: 10.0.0.9")) is None


def test_first_line_finds_the_cause():
    class Wrapped(Exception):
        def __init__(self, inner):
            super().__init__("Training failed due to worker errors")
            self.worker_failures = {1: inner}

    class Carried(Exception):
        def __init__(self, inner):
            super().__init__("Traceback ...")
            self._base_exc = inner

    assert first_line(Wrapped(Carried(ConfigError("what to do\nmore")))) == "ConfigError: what to do"
    assert first_line(Carried(KeyError("x"))) == "KeyError: 'x'"
    assert first_line(RuntimeError()) == "RuntimeError"
