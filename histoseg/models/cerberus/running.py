"""What runs a Cerberus on the windows of slides: one runner for all regions and slides whose windows are alike."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from histoseg.engines import Execution
from histoseg.engines.candidates import list_candidates
from histoseg.engines.eager import run_eagerly
from histoseg.engines.heap import keep_freed_memory
from histoseg.engines.memory import GpuMemory
from histoseg.engines.runner import Runner
from histoseg.engines.trial import TOLERANCES
from histoseg.maps.windows import Window
from histoseg.models.cerberus.fold import fold_norms
from histoseg.models.cerberus.heads import AllHeads
from histoseg.models.cerberus.network import Cerberus
from histoseg.models.tensors import device_of

Key = tuple[tuple[str, ...], Window, Execution]
# The last of each network, as to make one may take a minute; and the copy of the network that all of them work on.
_RUNNERS: WeakKeyDictionary[Cerberus, tuple[Key, Runner]] = WeakKeyDictionary()
_FOLDED: WeakKeyDictionary[Cerberus, Cerberus] = WeakKeyDictionary()


def runner_of(
    network: Cerberus, decoders: Sequence[str], window: Window, execution: Execution, pixels_at_once: int
) -> Runner:
    """What runs some decoders on windows of one shape; of a network that is trained no more.

    Args:
        network: On the device that it is to run on.
        decoders: Their names.
        window: At 0, 0.
        execution: How it is run.
        pixels_at_once: How many pixels a CPU takes at once; of a GPU the memory decides.
    """
    key = (tuple(decoders), window, execution)
    known, runner = _RUNNERS.get(network, (None, None))
    if runner is None or known != key:
        runner = _make(network, key, pixels_at_once)
        _RUNNERS[network] = (key, runner)
    return runner


def _make(network: Cerberus, key: Key, pixels_at_once: int) -> Runner:
    decoders, window, execution = key
    heads, device = AllHeads(_fold(network), decoders, window), device_of(network)
    on_gpu = device.type == "cuda"
    if not on_gpu:
        keep_freed_memory()
    return Runner(
        run_eagerly(heads, execution.precision),
        list_candidates(heads, execution, device),
        TOLERANCES[execution.precision],
        at_once=1 if on_gpu else max(1, pixels_at_once // window.num_seen),
        memory=GpuMemory(device) if on_gpu else None,
    )


def _fold(network: Cerberus) -> Cerberus:
    """The folded copy of a network: small images, of many sizes, all have the same."""
    known = _FOLDED.get(network)
    if known is None or device_of(known) != device_of(network):
        known = _FOLDED[network] = fold_norms(network)
    return known
