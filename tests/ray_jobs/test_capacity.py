"""A job on a Ray whose workers are still to come waits for them."""

import pytest

from histoseg.errors import ConfigError
from ray_jobs.capacity import await_capacity

CPU, GPU = {"CPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}


class Ray:
    """A Ray that has what each look in turn finds, and remembers what its autoscaler was asked for."""

    def __init__(self, *looks):
        self.looks, self.requested, self.num_pauses = list(looks), [], 0

    def ask(self):
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def request(self, bundles):
        self.requested.append(list(bundles))

    def pause(self, _seconds):
        self.num_pauses += 1

    def wait(self, workers, expected=None, timeout_s=3600.0):
        return await_capacity(workers, expected or {}, timeout_s, ask=self.ask, request=self.request, pause=self.pause)


def test_what_is_there_is_not_waited_for():
    ray = Ray({"CPU": 2.0, "memory": 5.0})
    assert ray.wait([CPU, CPU]) == {"CPU": 2.0, "memory": 5.0}
    assert (ray.num_pauses, ray.requested) == (0, [])


def test_workers_that_are_known_to_come_count_as_there():
    ray = Ray({"CPU": 0.0})
    assert ray.wait([GPU], {"CPU": 8.0, "GPU": 2.0}) == {"CPU": 8.0, "GPU": 2.0}
    assert ray.num_pauses == 0


def test_workers_that_come_later_are_waited_for_and_asked_of_the_autoscaler():
    ray = Ray({}, {"CPU": 0.0}, {"CPU": 1.0}, {"CPU": 2.0})
    assert ray.wait([CPU, CPU]) == {"CPU": 2.0}
    assert ray.num_pauses == 2  # After the looks that found 0 and 1
    assert ray.requested == [[CPU, CPU], []]  # Nodes may go again once the job itself holds them.


def test_workers_that_never_come_end_it_and_the_request():
    ray = Ray({"CPU": 4.0})
    with pytest.raises(ConfigError, match="needs 2 CPU, 2 GPU, but Ray has 4 CPU, 0 GPU; use fewer workers"):
        ray.wait([GPU, GPU], timeout_s=0.0)
    assert ray.requested == [[GPU, GPU], []]


JOB = """
import ray
from ray_jobs.capacity import await_capacity
ray.init(address="auto")
print("now", ray.cluster_resources().get("CPU", 0), flush=True)
print("then", await_capacity([{"CPU": 1.0}], {}, 100)["CPU"], flush=True)
"""


@pytest.mark.slow
def test_a_real_ray_whose_worker_comes_later(bare_ray):
    job = bare_ray.run(JOB)
    assert job.stdout.readline() == "now 0\n"
    bare_ray.start_worker("late")
    try:
        assert job.communicate(timeout=60)[0] == "then 1.0\n"
    finally:
        bare_ray.kill("late")
