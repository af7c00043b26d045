"""How a played cluster misbehaves."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Faults:
    """How the cluster misbehaves.

    Attributes:
        lost_heads_stay: A head that is deleted does not come back.
        writes_twice: A driver that goes on writes the records of its predecessor again.
        loses_records: A driver that goes on deletes one.
        end_s: How long a worker takes to end when it is deleted.
        kept_kinds: Kinds that the garbage collector leaves.
        claims_stay: A deleted volume claim is never let go.
        ignores_cordons: The scheduler uses nodes that are not to be used.
    """

    lost_heads_stay: bool = False
    writes_twice: bool = False
    loses_records: bool = False
    end_s: float = 0.5
    kept_kinds: frozenset[str] = frozenset()
    claims_stay: bool = False
    ignores_cordons: bool = False
