"""The log of a job's submitter pod, each line once, whichever connections break."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from histoseg.kube.api import READ_S, Cluster

SLACK_S = 60  # A line may be under way this long between a node and here; lines that come twice are left out below.
STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d) ?")


class PodLog:
    """The new lines of a job's log, over any number of connections and submitter pods.

    A connection that broke is continued by the lines' times: Kubernetes gives each a nanosecond. A new submitter pod
    follows the same Ray job from its beginning, so lines that an earlier one showed are left out, each once.
    """

    def __init__(self, silence_s: float = READ_S) -> None:
        self._silence_s = silence_s
        self._attempt, self._pod = "", ""
        self._before: Counter[str] = Counter()  # Lines of this attempt's earlier pods: the most that one had of each
        self._here: Counter[str] = Counter()  # Lines of this pod
        self._repeated: Counter[str] = Counter()  # Lines that this pod is expected to repeat
        self._newest, self._num_newest = 0, 0  # The newest time, and how many lines have it
        self._received_s = 0.0

    def new_lines(self, cluster: Cluster, pod: str, container: str, attempt: str) -> Iterator[str]:
        """The pod's new lines until the container or the connection ends; those of another attempt are all new."""
        if (attempt, pod) != (self._attempt, self._pod):
            self._before = self._before | self._here if attempt == self._attempt else Counter()
            self._attempt, self._pod = attempt, pod
            self._here, self._repeated = Counter(), self._before.copy()
            self._newest, self._num_newest = 0, 0
        for line in self._unread(cluster, pod, container):
            self._here[line] += 1
            if self._repeated[line]:
                self._repeated[line] -= 1
            else:
                yield line

    def _seconds_back(self) -> int:
        """How far back the unread lines may begin, whether they are new or a backlog, and if clocks differ somewhat."""
        silent_s, behind_s = time.monotonic() - self._received_s, time.time() - self._newest / 1e9
        return int(max(silent_s, behind_s)) + SLACK_S if self._newest else 0

    def _unread(self, cluster: Cluster, pod: str, container: str) -> Iterator[str]:
        """The lines after the newest one that was read."""
        begin, skip = self._newest, self._num_newest
        for line in cluster.log(pod, container, self._seconds_back(), self._silence_s):
            self._received_s = time.monotonic()
            at, text = split_stamp(line)
            if at and (at < begin or (at == begin and skip > 0)):
                skip -= int(at == begin)
                continue
            if not at and self._here[text]:  # The kubelet's own words about this log, which every connection repeats
                continue
            if at == self._newest:
                self._num_newest += 1
            elif at > self._newest:
                self._newest, self._num_newest = at, 1
            yield text


def split_stamp(line: str) -> tuple[int, str]:
    """A line's time in nanoseconds since 1970, and its text; 0 for a line without, as the kubelet itself writes."""
    found = STAMP.match(line)
    if found is None:
        return 0, line
    second, fraction, zone = found.groups()
    whole = int(datetime.fromisoformat(f"{second}{zone}").timestamp())
    return whole * 10**9 + int((fraction or "").ljust(9, "0")[:9]), line[found.end() :]
