"""The result of one check."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of `histoseg doctor`.

    Attributes:
        what: What was checked.
        found: What was found.
        advice: What to do if it is not ok; empty if `found` says it.
    """

    what: str
    ok: bool
    found: str
    advice: str = ""
