"""HoVer-Net against TIAToolbox', which comes from the same laboratory and has the published names.

Its own weights are downloaded from a hub, so random ones take their place here.
"""

import numpy as np
import pytest
import torch

from histoseg.maps.evidence import Evidence
from histoseg.metrics.panoptic import count_panoptic
from histoseg.models.hovernet.postprocess import make_objects, steepness
from histoseg.models.hovernet.published import import_published
from histoseg.models.hovernet.targets import distance_maps
from tests.models.drawn_nuclei import draw_nuclei
from tests.tiatoolbox import needs_tiatoolbox, run_tiatoolbox

pytestmark = needs_tiatoolbox

CHECKPOINT = """
import numpy as np
from tiatoolbox.models.architecture.hovernet import HoVerNet

torch.manual_seed(0)
network = HoVerNet(mode={mode!r}, num_types={num_types}).eval()
for name, value in network.state_dict().items():  # Statistics and scales of norms too, which begin as zeros and ones
    if value.is_floating_point() and value.dim() == 1:
        value.uniform_(0.5, 1.5)
torch.save({{"desc": network.state_dict()}}, {folder!r} + "/weights.tar")
image = np.load({folder!r} + "/image.npy")
names = ["np", "hv"] + ["tp"] * (network.num_types is not None)
with torch.inference_mode():
    found = network(torch.from_numpy(image).permute(0, 3, 1, 2).float())
np.savez({folder!r} + "/found.npz", **{{name: found[name].numpy() for name in names}})
"""


@pytest.mark.parametrize(
    ("mode", "num_types", "side"), [("fast", 6, 256), ("fast", 5, 256), ("original", 5, 270), ("original", None, 270)]
)
def test_its_checkpoint_is_imported_and_computes_the_same(mode, num_types, side, tmp_path):
    """All layouts that are published: of PanNuke, MoNuSAC, CoNSeP and Kumar, on patches of the published size."""
    image = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    np.save(tmp_path / "image.npy", image)
    run_tiatoolbox(CHECKPOINT.format(mode=mode, num_types=num_types, folder=str(tmp_path)))
    model = import_published(tmp_path / "weights.tar")
    with torch.inference_mode():
        found = model.network(torch.from_numpy(image))
    with np.load(tmp_path / "found.npz") as theirs:
        assert set(theirs) == set(found)
        for name, wanted in theirs.items():
            torch.testing.assert_close(
                found[name], torch.from_numpy(wanted), rtol=1e-3, atol=1e-3 * float(abs(wanted).max())
            )


@pytest.mark.parametrize("num_rows", [24, 15, 8])
def test_its_post_processing_finds_the_same_nuclei(num_rows, tmp_path):
    """But for those that its limits, which are those of each tile, part or join: ours are fixed."""
    drawn = draw_nuclei(num_rows, 300, num_rows)
    maps, mask = distance_maps(drawn).astype(np.float32), drawn > 0
    np.savez(tmp_path / "maps.npz", mask=mask, maps=maps)
    run_tiatoolbox(
        f"""
        import numpy as np
        from tiatoolbox.models.architecture.hovernet import HoVerNet
        given = np.load({str(tmp_path / "maps.npz")!r})
        found = HoVerNet._proc_np_hv(given["mask"][..., None].astype(np.float32), given["maps"].transpose(1, 2, 0))
        np.save({str(tmp_path / "found.npy")!r}, found)
        """
    )
    theirs = np.load(tmp_path / "found.npy").astype(np.int32)
    ours = make_objects(Evidence(mask=mask, inner=steepness(maps)))
    assert count_panoptic(theirs, ours).pq >= 0.95
