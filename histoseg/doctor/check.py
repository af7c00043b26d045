"""The result of one check."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of `histoseg doctor`; `advice` is what to do if it is not ok, empty if `found` says it."""

    what: str
    ok: bool
    found: str
    advice: str = ""
