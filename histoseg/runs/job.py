"""A request as a job on a cluster: its name, and the command line that runs it there."""

import re
import shlex

from histoseg.errors import ConfigError
from histoseg.runs.argv import changed, from_words, to_words
from histoseg.runs.plain import digest
from histoseg.runs.request import MAX_NAME_CHARS, NAME, Request

RELEASE = "histoseg"  # The chart's usual release
DRIVER = "ray_jobs.driver"  # The module that a cluster runs: `python -m ray_jobs.driver …`


def job_name(request: Request, code: str) -> str:
    """The job's name, valid for Kubernetes: the experiment and a hash of all that the result depends on.

    Only fields that differ from their defaults are hashed, so a new field with a default changes no name. `code` is
    what runs it, such as an image's digest: other code is another job.
    """
    asked = result_fields(request)
    stem = re.sub(r"[^a-z0-9]+", "-", request.experiment.lower()).strip("-")
    name = f"{stem[: MAX_NAME_CHARS - 9].rstrip('-')}-{digest({**asked, 'code': code})[:8]}"
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a job; name the experiment with a-z, 0-9 and -, a letter first")
    return name


def result_fields(request: Request) -> dict[str, object]:
    """The fields that a result depends on, as far as they differ from their defaults."""
    return {field: content for field, content, option in changed(request) if option.changes_result}


def entrypoint(request: Request) -> str:
    """The command line that runs a request in a cluster, quoted for a shell."""
    return shlex.join(["python", "-m", DRIVER, *to_words(request)])


def request_of(command: str) -> Request | None:
    """The request that `entrypoint` wrote, None if the command line is another one."""
    words = shlex.split(command)
    if words[:3] != ["python", "-m", DRIVER]:
        return None
    try:
        return from_words(Request, words[3:], DRIVER)
    except ConfigError:
        return None
