"""What the submitter pod of a RayJob runs: it submits the job unless Ray has it, and stays until the job has ended.

`python -m ray_jobs.submitter <entrypoint>` prints the job's log, for `kubectl logs` and `make submit`. KubeRay sets the
variables that name the Ray and the job. It fails a job that still runs 30 s after its submitter has finished, so this
one goes on where a connection to the log breaks (docs/adr/0019-the-submitter-stays.md).
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from histoseg.errors import ClusterError
from histoseg.runs.follow import FailedJobError, JobState, Notices, OutageError, Pace, follow
from ray_jobs.jobs_api import FollowedSubmission, ForgottenError, RayJobs

DASHBOARD, SUBMISSION = "RAY_DASHBOARD_ADDRESS", "RAY_JOB_SUBMISSION_ID"  # Variables that KubeRay sets
PACE = Pace(poll_s=2.0, outage_s=300.0)  # After 300 s without an answer KubeRay gives the job up as well


class SubmittedJob:
    """A job that Ray gets unless it has it already."""

    def __init__(self, ray: RayJobs, name: str, entrypoint: str) -> None:
        self.name = name
        self._ray, self._entrypoint = ray, entrypoint
        self._followed: FollowedSubmission | None = None

    def look(self, notices: Notices) -> JobState:
        """The state now, without words: those who read the log learn it from the RayJob."""
        try:
            self._followed = self._followed or self._submit()
            return replace(self._followed.look(notices), text="")
        except ForgottenError as error:  # A new submitter pod submits it again; Kubernetes counts these pods
            raise ClusterError(f"{error}: its head was replaced") from error
        except OutageError:
            raise
        except ClusterError as error:
            raise OutageError(str(error)) from error

    def new_lines(self, state: JobState) -> Iterator[str]:
        """The log's new lines."""
        if self._followed:
            yield from self._followed.new_lines(state)

    def _submit(self) -> FollowedSubmission:
        client = self._ray.client()
        if self._ray.find(client, self.name) is None:
            self._ray.ask(lambda: client.submit_job(entrypoint=self._entrypoint, submission_id=self.name))
        return FollowedSubmission(self._ray, client, self.name)


def attend(address: str, name: str, entrypoint: str, pace: Pace = PACE) -> None:
    """Return when the job has ended, whether with success or not: KubeRay asks Ray for that.

    Raises:
        ClusterError: If Ray forgets the job, or does not answer for too long.
    """
    ray = RayJobs(address=address, pace=pace)
    try:
        follow(SubmittedJob(ray, name, entrypoint), "ray_jobs.submitter", partial(print, flush=True), pace)
    except FailedJobError:
        return


def main(arguments: Sequence[str] | None = None) -> None:
    """Attend the job that KubeRay names; exit code 1 if another submitter must go on."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))  # PID 1 of a pod would ignore it
    (entrypoint,) = sys.argv[1:] if arguments is None else arguments
    try:
        attend(f"http://{os.environ[DASHBOARD].removeprefix('http://')}", os.environ[SUBMISSION], entrypoint)
    except ClusterError as error:
        sys.exit(f"histoseg: {error}")


if __name__ == "__main__":
    main()
