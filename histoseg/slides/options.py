"""What a person may choose about how slides are segmented."""

from dataclasses import dataclass, field

from histoseg.engines import Execution
from histoseg.errors import ConfigError
from histoseg.maps.windows import MarginWindows
from histoseg.slides.grid import REGION_PX
from histoseg.types import is_credible_mpp, say_credible_mpp


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """What a person may choose.

    Attributes:
        mpp: Microns per base pixel; None takes what each slide says.
        windows: How the network sees a slide.
        mask: "auto", "none", or an image or a folder of images named like their slides, white where tissue is.
        structures: What to look for; empty means everything that the model finds.
        overwrite: Whether results of another model or of other options are replaced.
        region_px: About how much of a slide is held at once; changes no result.
        execution: How the network is run.
    """

    mpp: float | None = None
    windows: MarginWindows = field(default_factory=MarginWindows)
    mask: str = "auto"
    structures: tuple[str, ...] = ()
    overwrite: bool = False
    region_px: int = REGION_PX
    execution: Execution = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if self.mpp is not None and not is_credible_mpp(self.mpp):
            raise ConfigError(f"--mpp {self.mpp:g}: must be {say_credible_mpp()}")
