"""Why something does not go on, as one line with a remedy; the same reason of several pods is one line."""

from collections.abc import Iterable
from dataclasses import dataclass

from histoseg.runs.follow import Reason


@dataclass(frozen=True, kw_only=True)
class PodReason:
    """Why a pod does not run, or ended.

    Attributes:
        pod: "" where its name is not known.
        kind: The same for the same reason, whatever the words of the text.
        counts: Whether one more pod with this reason is news.
    """

    pod: str
    kind: str
    text: str
    counts: bool = False


def grouped(reasons: Iterable[PodReason]) -> list[Reason]:
    """Each reason once, with the pods that it holds for."""
    same: dict[str, list[PodReason]] = {}
    for reason in reasons:
        same.setdefault(reason.kind, []).append(reason)
    return [_joined(kind, found) for kind, found in same.items()]


def _joined(kind: str, found: list[PodReason]) -> Reason:
    pods = list(dict.fromkeys(reason.pod for reason in found))
    names = pods[0] if len(pods) == 1 else f"{pods[0]} and {len(pods) - 1} more"
    text = f"{names}: {found[0].text}" if names else found[0].text
    return Reason(kind=f"{kind} of {len(pods)}" if found[0].counts else kind, text=text)
