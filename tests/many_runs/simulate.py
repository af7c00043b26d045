"""2,000 cells on 64 and 512 GPUs, with what `python -m tests.many_runs` measured: `python -m tests.many_runs.simulate`.

Tune hands out runs in one process on the head, one after the other; everything else of a run happens on its own node.
So the head is a queue with one server, and each GPU asks it for the next run. Runs take differently long, as those of a
table do.
"""

import heapq
import random
from dataclasses import dataclass

CELLS = 2000
HEAD_CPU_S = 0.5  # The head's CPU seconds for each run, all its processes; docs/performance.md has the measurement
GAP_S = 0.4  # From a run's end to the next one's begin in the same process, where no other ends at that moment
START_S = 20.0  # A process's start and imports, on a node with nothing else to do
REQUESTS = 7  # To the store for each run, without those of the training itself
RENEWALS_PER_S = 2 / 6  # A lease is rewritten and read back every six seconds
SPREAD = 0.3  # Of the logarithm of a run's duration
HEAD_MB, HEAD_MB_PER_RUN = (
    932.0,
    2.0,
)  # Measured; and what `histoseg.runs.head` reckons with, three times as much as measured


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one grid of runs went."""

    makespan_s: float
    ideal_s: float  # Of the same runs if each began when the one before it ended
    head_load: float  # Share of the time in which the head had something to do
    longest_wait_s: float  # Of a GPU for the head, after the first runs


def simulate(gpus, run_s, rng):
    """All cells on so many GPUs, each a run of `run_s` seconds on average."""
    durations = [run_s * rng.lognormvariate(-(SPREAD**2) / 2, SPREAD) for _ in range(CELLS)]
    asking = [(START_S, gpu) for gpu in range(gpus)]  # When each GPU asks the head for a run
    ideal = [0.0] * gpus
    head_free_s = busy_s = longest_wait_s = makespan_s = 0.0
    for i, duration in enumerate(durations):
        asked_s, gpu = heapq.heappop(asking)
        begin_s = max(asked_s, head_free_s)
        head_free_s, busy_s = begin_s + HEAD_CPU_S, busy_s + HEAD_CPU_S
        if i >= gpus:
            longest_wait_s = max(longest_wait_s, begin_s - asked_s)
        end_s = head_free_s + duration
        makespan_s = max(makespan_s, end_s)
        heapq.heappush(asking, (end_s + GAP_S, gpu))
        heapq.heapreplace(ideal, ideal[0] + duration)
    return Outcome(
        makespan_s=makespan_s, ideal_s=max(ideal), head_load=busy_s / makespan_s, longest_wait_s=longest_wait_s
    )


def main():
    """Print a table."""
    print(
        "| GPUs | a run, min | table, h | of it computing | head busy | longest wait, s | store requests/s | head, GB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for gpus in (64, 512):
        for run_s in (60, 300, 1200, 3600):
            found = simulate(gpus, run_s, random.Random(0))
            requests = CELLS * REQUESTS / found.makespan_s + min(gpus, CELLS) * RENEWALS_PER_S
            memory = (HEAD_MB + HEAD_MB_PER_RUN * gpus) / 1024
            numbers = f"{found.makespan_s / 3600:.2f} | {found.ideal_s / found.makespan_s:.0%} | {found.head_load:.0%}"
            load = f"{found.longest_wait_s:.1f} | {requests:.0f} | {memory:.1f}"
            print(f"| {gpus} | {run_s // 60} | {numbers} | {load} |")


if __name__ == "__main__":
    main()
