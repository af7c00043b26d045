"""One experiment from raw data to its result page: `make submit EXP=table1`.

Where it runs is one variable: nothing (this machine, with an S3 server and a Ray of its own), CLUSTER=context (a RayJob
on Kubernetes, as the chart's settings there say), or RAY_ADDRESS=http://host:8265 (a job on a Ray that is there).
Repeating it is safe and cheap, whatever ended it before.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from histoseg.errors import HistosegError
from ray_jobs.driver import log_to_stdout
from ray_jobs.options import Options, parse


def submit(options: Options) -> str:
    """Do what was typed; returns what the last line says, which is where the result lies.

    Raises:
        HistosegError: With one line that says what is wrong; what was finished stays finished.
    """
    if options.cluster or options.ray_address:
        from ray_jobs.remote import act

        return act(options)
    from ray_jobs.local_job import run_here

    return str(run_here(options))


def main(arguments: Sequence[str] | None = None) -> None:
    """Submit; what goes wrong is one line on stderr and exit code 1. A reader that goes, as `head` does, ends it."""
    _write_whatever_comes()
    log_to_stdout()
    options = parse(arguments, (__doc__ or "").partition("\n")[0])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        print(submit(options), flush=True)
    except HistosegError as error:
        sys.exit(f"histoseg: {error}")
    except KeyboardInterrupt:
        # Whether a job goes on elsewhere is said by those who know that there is one.
        elsewhere = options.cluster or options.ray_address
        again = "repeat the command" if elsewhere else "the same command goes on where this one was"
        sys.exit(f"histoseg: interrupted; {again}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Else Python complains when it closes stdout.
        sys.exit(128 + signal.SIGPIPE)  # As a shell names the end of what wrote to nobody


def _write_whatever_comes() -> None:
    """Let no character of a log that a terminal cannot show end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
