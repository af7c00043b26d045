"""Who holds a lease, and when its next holder need not wait for it to fall silent.

A submission that was killed and is repeated finds the lease of its former self. On the same machine, it sees that the
process has ended. A later attempt of one RayJob follows the earlier ones, which KubeRay has given up: their pods may
live on a lost node, but can no longer write (see `histoseg.store.leases.FencedStore`).
"""

from pydantic import BaseModel, ConfigDict

from histoseg.machine import is_running


class Holder(BaseModel):
    """One driver of a job, as the objects of its leases name it.

    Attributes:
        owner: An id that no other driver has.
        job: What was submitted, equal when a command is repeated; empty if that is not known.
        machine: See `histoseg.machine.machine_id`.
        process: See `histoseg.machine.process_id`.
        submission: The RayJob, whose attempts all have this id; empty for a job that is no RayJob.
        attempt: A number that grows from one attempt of a submission to the next.
        beat: How often the lease's object was written again, a sign of life.
        released: Whether the holder has finished.
    """

    model_config = ConfigDict(frozen=True)

    owner: str
    job: str = ""
    machine: str = ""
    process: str = ""
    submission: str = ""
    attempt: int = 0
    beat: int = 0
    released: bool = False

    def __str__(self) -> str:
        process = f" (process {self.process.split()[0]} on {self.machine.split()[0]})" if self.process else ""
        return f"{self.job or self.owner}{process}"

    def replaces(self, former: "Holder") -> str:
        """Why this holder may take over a former one's lease at once; empty if it must wait for it."""
        if not former.job or former.job != self.job:
            return ""
        if self.submission and self.submission == former.submission:
            return "an earlier attempt of this RayJob" if former.attempt < self.attempt else ""
        has_ended = bool(former.process) and former.machine == self.machine and not is_running(former.process)
        return "whose process has ended" if has_ended else ""
