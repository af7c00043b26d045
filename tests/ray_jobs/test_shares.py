import pytest

from ray_jobs.shares import ACTOR_CPUS, share_out


@pytest.mark.parametrize(
    ("resources", "actors", "gpus", "calls_each", "task_cpus"),
    [
        ({"CPU": 2.0}, 2, 0, 1, 0.25),
        ({"CPU": 1.0, "memory": 1e9}, 1, 0, 1, 0.25),
        ({"CPU": 8.0, "GPU": 1.0}, 1, 1, 2, 1.0),
        ({"CPU": 512.0, "GPU": 64.0}, 64, 1, 2, 1.0),
        ({"CPU": 4.0, "GPU": 4.0}, 4, 1, 2, 0.25),
    ],
)
def test_a_process_for_each_gpu_or_else_each_cpu(resources, actors, gpus, calls_each, task_cpus):
    shares = share_out(resources)
    assert (shares.actors, shares.actor_gpus, shares.calls_each, shares.task_cpus) == (
        actors,
        gpus,
        calls_each,
        task_cpus,
    )
    assert shares.batches == actors * calls_each


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 96])
def test_there_is_always_room_to_open_a_slide(cpus):
    """On each node: a node's CPUs are whole, and an actor leaves a part of each that it takes."""
    for gpus in range(cpus + 1):
        shares = share_out({"CPU": float(cpus), "GPU": float(gpus)})
        assert cpus - ACTOR_CPUS * shares.actors >= shares.task_cpus
