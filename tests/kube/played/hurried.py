"""`make submit` that looks at its job ten times as often: `python -m tests.kube.played.hurried`."""

from functools import partial

from histoseg.kube import submit as following
from histoseg.runs.follow import Pace
from ray_jobs.submit import main

if __name__ == "__main__":
    following.Pace = partial(Pace, poll_s=0.5)  # type: ignore[misc,assignment]  # In place of a class
    main()
