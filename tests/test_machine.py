"""How many cores a process may use, by scheduler and container; and whether a process of this machine still runs."""

import subprocess

import pytest

from histoseg import machine


@pytest.fixture
def quota(monkeypatch, tmp_path):
    """A machine that gives this process eight cores, and a file for the quota of its container."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "CGROUP_CPU", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),  # A half core keeps no process busy.
        ("100000 50000\n", 2),
        ("50000 100000\n", 1),  # Less than one is still one.
        ("1600000 100000\n", 8),  # A quota does not add cores.
        ("", 8),
    ],
)
def test_a_containers_quota_limits_the_cores(quota, text, cpus):
    quota.write_text(text)
    assert machine.available_cpus() == cpus


def test_without_cgroups_the_scheduler_says(quota):
    assert not quota.exists()
    assert machine.available_cpus() == 8


@pytest.mark.parametrize("proc", [machine.PROC, "none"])
def test_a_process_runs_until_it_is_killed_even_if_nobody_waits_for_it(proc, monkeypatch, tmp_path):
    """On Linux by /proc, elsewhere by `ps`."""
    monkeypatch.setattr(machine, "PROC", tmp_path / proc)
    assert machine.is_running(machine.process_id())
    with subprocess.Popen(["sleep", "60"]) as process:
        name = f"{process.pid} {machine._start_of(process.pid)}"
        assert machine.is_running(name)
        assert not machine.is_running(f"{name}0")  # Another one of this number
        process.kill()
        for _ in range(1000):
            if not machine.is_running(name):
                break
        assert not machine.is_running(name)
    assert not machine.is_running(name)
