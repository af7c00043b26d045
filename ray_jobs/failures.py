"""What Ray reports about a group that failed or lost its process, as one line."""

import re
from dataclasses import dataclass

from histoseg.errors import HistosegError

# In the texts of `ray.exceptions`: an actor's node, and what Ray's memory monitor measured before it ended a process.
NODE = re.compile(r"\bip: ([^,\s)]+)", re.IGNORECASE)
MEASURED = re.compile(r"was (\S+) used / (\S+) limit")
MORE_MEMORY = "give it more memory (on Kubernetes: memory of its group in the chart's workerGroups)"


class ReclaimedError(Exception):
    """The node of this process is about to be taken away."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A process or node that ended under a group, through no fault of the group's own code."""

    text: str
    was_memory: bool = False  # Whether Ray ended it because its node had too little memory left
    is_of_node: bool = False  # Whether the whole node is gone or about to be


def loss_of(error: BaseException | None) -> Loss | None:
    """What was lost, None if the error is that of a program."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

    text = str(error)
    node = _host(next(iter(NODE.findall(text)), ""))
    if isinstance(error, OutOfMemoryError) or "low on memory" in text:
        measured = MEASURED.search(text)
        amounts = f" ({measured[1]} of {measured[2]} in use)" if measured else ""
        return Loss(
            text=f"node {node} ran out of memory{amounts}, and Ray ended its process; {MORE_MEMORY}", was_memory=True
        )
    if isinstance(getattr(error, "cause", error), ReclaimedError):
        return Loss(text=f"node {node} is being taken away", is_of_node=True)
    if isinstance(error, NodeDiedError) or "node has died" in text:
        return Loss(text=f"node {node} was lost", is_of_node=True)
    return Loss(text=f"its process on node {node} was killed or crashed") if isinstance(error, RayActorError) else None


def _host(address: str) -> str:
    """A node's address with the name of its machine, which on Kubernetes is that of its pod."""
    import ray

    nodes = ray.nodes() if address and ray.is_initialized() else []  # type: ignore[no-untyped-call]
    names = [node["NodeManagerHostname"] for node in nodes if node["NodeManagerAddress"] == address]
    return f"{names[-1]} ({address})" if names else address or "unknown"


def first_line(error: BaseException) -> str:
    """The error in one line, without what Ray wrapped around it."""
    failures = getattr(error, "worker_failures", None) or {}  # Ray Train: by rank
    inner = next(iter(failures.values()), None)
    for name in ("controller_failure", "cause", "_base_exc"):  # the controller, a task, a worker's function
        inner = inner or getattr(error, name, None)
    if isinstance(inner, BaseException):
        return first_line(inner)
    if isinstance(error, HistosegError):
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    if loss := loss_of(error):
        return loss.text
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
