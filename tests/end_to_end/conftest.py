import pytest

from tests.end_to_end.job import Job


@pytest.fixture(scope="module")
def start():
    """Starts jobs, and ends those that a failed or interrupted test leaves behind."""
    jobs = []

    def start_job(folder, *words):
        jobs.append(Job(folder, *words))
        return jobs[-1]

    yield start_job
    for job in jobs:
        if job.process.poll() is None:
            job.process.kill()
            job.process.wait()
