"""One experiment from raw data to its result page: `make submit EXP=table1`.

Where it runs is one variable: nothing (this machine, with an S3 server and a Ray of its own), CLUSTER=context (a RayJob
on Kubernetes, as the chart's settings there say), or RAY_ADDRESS=http://host:8265 (a job on a Ray that is there).
Repeating it is safe and cheap, whatever ended it before.
"""

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
    """Submit; what goes wrong is one line on stderr and exit code 1."""
    log_to_stdout()
    options = parse(arguments, (__doc__ or "").partition("\n")[0])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        print(submit(options))
    except HistosegError as error:
        sys.exit(f"histoseg: {error}")
    except KeyboardInterrupt:
        elsewhere = bool(options.cluster or options.ray_address)
        goes_on = "the job goes on; the same command follows it again, CANCEL=1 ends it"
        here = "the same command goes on where this one was"
        sys.exit(f"histoseg: interrupted; {goes_on if elsewhere else here}")


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
