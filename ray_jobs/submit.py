"""One experiment from raw data to its result page: `make submit EXP=table1`.

Where it runs is one variable: nothing (this machine, with an S3 server and a Ray of its own), CLUSTER=context (a RayJob
on Kubernetes, as the chart's settings there say), or RAY_ADDRESS=http://host:8265 (a job on an existing Ray). Repeating
it is safe and cheap, however it ended before.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from histoseg.errors import HistosegError
from histoseg.runs.request import Request
from ray_jobs.local_job import run_here
from ray_jobs.logs import log_command
from ray_jobs.target import Target, parse


def submit(request: Request | None, target: Target) -> str:
    """Do what was typed; returns the last line to print, which is where the result lies."""
    if request is None or not target.is_local:
        from ray_jobs.remote import act

        return act(request, target)
    return str(run_here(request, target.out))


def main(arguments: Sequence[str] | None = None) -> None:
    """Submit; an error is one line on stderr and exit code 1. A reader of stdout that ends, as `head` does, ends it."""
    _replace_unprintable_characters()
    log_command()
    signal.signal(signal.SIGTERM, _interrupt)
    is_elsewhere = False
    try:
        request, target = parse(arguments, (__doc__ or "").partition("\n")[0])
        is_elsewhere = not target.is_local
        print(submit(request, target), flush=True)
    except HistosegError as error:
        sys.exit(f"histoseg: {error}")
    except KeyboardInterrupt:
        # Whether a job goes on elsewhere is said where it is known.
        again = "repeat the command" if is_elsewhere else "the same command goes on where this one was"
        sys.exit(f"histoseg: interrupted; {again}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Else Python complains when it closes stdout.
        sys.exit(128 + signal.SIGPIPE)  # As a shell reports a process that wrote to a closed pipe


def _replace_unprintable_characters() -> None:
    """Let no character of a log that a terminal cannot show end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
