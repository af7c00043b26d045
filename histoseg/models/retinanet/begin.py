"""A RetinaNet that begins with what another network has learnt."""

from torch import nn

from histoseg.errors import CheckpointError
from histoseg.models.network import Network
from histoseg.models.retinanet.network import RetinaNet


def begin_with(before: Network, network: RetinaNet) -> RetinaNet:
    """The new network with the encoder of another one, and with all of it if that is a RetinaNet of the same task.

    Raises:
        CheckpointError: If the other network has no such encoder.
    """
    encoder = getattr(before, "encoder", None)
    own = {name: value.shape for name, value in network.encoder.state_dict().items()}
    given = encoder.state_dict() if isinstance(encoder, nn.Module) else {}
    if {name: value.shape for name, value in given.items()} != own:
        parts = network.parts
        raise CheckpointError(
            f"the {type(before).__name__} of the stage before has no {parts.encoder} of width {parts.width} as its "
            "encoder, with which this RetinaNet begins; give both stages the same encoder and width"
        )
    network.encoder.load_state_dict(given)
    if isinstance(before, RetinaNet) and before.parts == network.parts:
        network.load_state_dict(before.state_dict())
    return network
