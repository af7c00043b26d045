"""Calls against a Ray that tests play: references are futures, which the test completes."""

import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import ModuleType

import pytest

from histoseg.errors import ClusterError, DataError, StorageError
from ray_jobs import calls as module
from ray_jobs.calls import LOST_AT_MOST, Actors, Call, calls
from ray_jobs.failures import Loss

PATIENCE_S = 20


class LostError(Exception):
    """Stands for a process that was lost."""

    def __init__(self, **about):
        super().__init__("lost")
        self.loss = Loss(text="lost", **about)


class Actor:
    """Ready at once, unless the test says otherwise."""

    def __init__(self, ray):
        self.ray = ray
        self.is_ready = self  # So that `actor.is_ready.remote()` is a reference.

    def remote(self):
        ref = Future()
        self.ray.made.append((self, ref))
        if self.ray.start_error:
            ref.set_exception(self.ray.start_error)
        else:
            ref.set_result(True)
        return ref


class Played:
    """What a test sees: actors that were made, and calls that were started, in order."""

    def __init__(self):
        self.made, self.started, self.start_error = [], [], None

    def actors(self, most=2, calls_each=1):
        return Actors(make=lambda: Actor(self), most=most, calls_each=calls_each)

    def call(self, what, *, needs_actor=True):
        def start(actor, is_again):
            ref = Future()
            self.started.append((what, actor, is_again, ref))
            return ref

        return Call(start=start, what=what, needs_actor=needs_actor)

    def refs(self, count):
        """The references of as many calls, as soon as that many were started."""
        until(lambda: len(self.started) >= count)
        return [ref for *_, ref in self.started]

    def names(self):
        return [what for what, *_ in self.started]


def until(claim):
    deadline = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def ray(monkeypatch):
    fake = ModuleType("ray")

    def wait_for(refs, timeout):
        done = wait(refs, timeout=timeout, return_when=FIRST_COMPLETED).done
        return [ref for ref in refs if ref in done], []

    fake.wait, fake.get = wait_for, lambda ref: ref.result()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(module, "loss_of", lambda error: getattr(error, "loss", None))
    monkeypatch.setattr(module, "first_line", str)
    return Played()


def test_no_more_than_fit_are_in_flight(ray):
    with calls(ray.actors(most=2, calls_each=2)) as running:
        futures = [running.put(ray.call(i)) for i in range(7)]
        refs = ray.refs(4)
        time.sleep(0.3)
        assert ray.names() == [0, 1, 2, 3]
        assert running.num_waiting == 3
        assert running.num_actors == 2
        refs[1].set_result("one")
        assert futures[1].result(PATIENCE_S) == "one"
        ray.refs(5)
        time.sleep(0.3)
        assert ray.names() == [0, 1, 2, 3, 4]


def test_there_are_only_as_many_actors_as_there_is_work(ray):
    with calls(ray.actors(most=64, calls_each=2)) as running:
        for i in range(3):
            running.put(ray.call(i))
        ray.refs(3)
        time.sleep(0.3)
        assert len(ray.made) == 2


def test_what_needs_no_actor_waits_for_none(ray):
    with calls(ray.actors(most=1)) as running:
        for i in range(3):
            running.put(ray.call(i))
        running.put(ray.call("look", needs_actor=False))
        until(lambda: "look" in ray.names())
        assert len(ray.started) == 2


@pytest.mark.parametrize("error", [DataError("damaged"), ClusterError("x")])
def test_what_only_a_person_can_mend_is_tried_once(ray, error):
    with calls(ray.actors()) as running:
        future = running.put(ray.call("a"))
        ray.refs(1)[0].set_exception(error)
        assert future.exception(PATIENCE_S) is error
    assert len(ray.started) == 1


def test_a_store_that_was_away_is_tried_again_after_a_pause(ray):
    with calls(ray.actors()) as running:
        future, begun = running.put(ray.call("a")), time.monotonic()
        ray.refs(1)[0].set_exception(StorageError("away"))
        ray.refs(2)[1].set_result("there")
        assert future.result(PATIENCE_S) == "there"
    assert time.monotonic() - begun > 1.5  # The first pause is of 2 s.
    assert [is_again for _, _, is_again, _ in ray.started] == [False, True]


def test_a_lost_process_is_replaced_and_its_calls_come_first(ray):
    with calls(ray.actors(most=1)) as running:
        futures = [running.put(ray.call(name)) for name in "abc"]
        ray.refs(1)[0].set_exception(LostError())
        ray.refs(2)[1].set_result("again")
        assert futures[0].result(PATIENCE_S) == "again"
        ray.refs(3)
    assert ray.names() == ["a", "a", "b"]
    assert ray.started[0][1] is not ray.started[1][1]


def test_a_call_that_ends_every_process_is_given_up(ray):
    with calls(ray.actors(most=1)) as running:
        future = running.put(ray.call("a"))
        for i in range(LOST_AT_MOST + 1):
            ray.refs(i + 1)[i].set_exception(LostError())
        assert isinstance(future.exception(PATIENCE_S), LostError)
        assert running.put(ray.call("b"))
        until(lambda: ray.names()[-1] == "b")


def test_lost_nodes_are_not_held_against_a_call(ray):
    with calls(ray.actors(most=1)) as running:
        future = running.put(ray.call("a"))
        for i in range(2 * LOST_AT_MOST):
            ray.refs(i + 1)[i].set_exception(LostError(is_of_node=True))
        ray.refs(2 * LOST_AT_MOST + 1)[-1].set_result("done")
        assert future.result(PATIENCE_S) == "done"


def test_after_a_loss_of_memory_there_are_fewer(ray):
    with calls(ray.actors(most=3)) as running:
        for i in range(6):
            running.put(ray.call(i))
        ray.refs(3)[0].set_exception(LostError(was_memory=True))
        until(lambda: running.num_actors == 2)
        time.sleep(0.4)
        assert running.num_actors == 2
        assert len(ray.made) == 3


def test_a_model_that_cannot_be_loaded_ends_it(ray):
    ray.start_error = DataError("damaged model")
    with calls(ray.actors()) as running:
        future = running.put(ray.call("a"))
        until(lambda: running.error is not None)
        assert "damaged model" in str(running.error)
        until(future.done)


def test_at_the_end_nobody_waits_for_ever(ray):
    with calls(ray.actors(most=1)) as running:
        futures = [running.put(ray.call(i)) for i in range(3)]
        ray.refs(1)
    assert isinstance(futures[0].exception(0), ClusterError)
    assert all(future.cancelled() for future in futures[1:])
    assert not [thread for thread in threading.enumerate() if thread.name == "calls"]
