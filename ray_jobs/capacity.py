"""Waiting for workers that are still to come, on a Ray that is there."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from histoseg.errors import ConfigError

logger = logging.getLogger("histoseg.capacity")

WAIT_S = 3600.0  # As long as a RayJob of the chart waits for its pods (job.preRunningDeadlineSeconds)
LOOK_EVERY_S = 2.0

Amounts = Mapping[str, float]  # By resource: {"CPU": 2, "GPU": 1}


def await_capacity(
    workers: Sequence[Amounts],
    expected: Amounts,
    timeout_s: float = WAIT_S,
    *,
    ask: Callable[[], Amounts] | None = None,
    request: Callable[[Sequence[Amounts]], object] | None = None,
    pause: Callable[[float], object] = time.sleep,
) -> dict[str, float]:
    """Wait until Ray has what one run needs; returns what it has then, or will have: `expected` where that is more.

    Args:
        workers: What each worker of one run takes.
        expected: What the cluster will have when all its nodes have joined; empty if unknown.
        timeout_s: 0 for a Ray that does not grow.
        ask: What Ray has now; by default the Ray that this process is connected to.
        pause: Waits as many seconds.
        request: Asks Ray's autoscaler for these workers; an empty list withdraws the request.

    Raises:
        ConfigError: If it is not there in time.
    """
    ask, request = ask or _cluster_resources, request or _request_resources
    needs = _sum(workers)
    have = _together(ask(), expected)
    if not _lacking(needs, have):
        return have
    logger.info("waiting up to %g s for workers: one run needs %s, Ray has %s", timeout_s, *_words(needs, have))
    end_s = time.monotonic() + timeout_s
    request(workers)
    try:
        while _lacking(needs, have := _together(ask(), expected)):
            if time.monotonic() >= end_s:
                raise _too_small(needs, have, timeout_s)
            pause(LOOK_EVERY_S)
    finally:
        request([])
    return have


def _cluster_resources() -> dict[str, float]:
    import ray

    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray does not annotate it
    return found


def _request_resources(bundles: Sequence[Amounts]) -> None:
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(bundle) for bundle in bundles])


def _too_small(needs: Amounts, have: Amounts, waited_s: float) -> ConfigError:
    need, has = _words(needs, have)
    waited = f" after {waited_s:g} s" if waited_s else ""
    return ConfigError(
        f"one run needs {need}, but Ray has {has}{waited}; use fewer workers per run or a larger cluster"
    )


def _sum(workers: Sequence[Amounts]) -> dict[str, float]:
    return {name: sum(each.get(name, 0.0) for each in workers) for each in workers for name in each}


def _together(now: Amounts, expected: Amounts) -> dict[str, float]:
    return {**now, **{name: max(amount, now.get(name, 0.0)) for name, amount in expected.items()}}


def _lacking(needs: Amounts, have: Amounts) -> bool:
    return any(amount > have.get(name, 0.0) for name, amount in needs.items())


def _words(needs: Amounts, have: Amounts) -> tuple[str, str]:
    """What is needed, and what there is of it."""
    texts = [", ".join(f"{amounts.get(name, 0.0):g} {name}" for name in needs) for amounts in (needs, have)]
    return texts[0], texts[1]
