"""The command that segments slides and images."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histoseg.commands.models import open_model
from histoseg.engines import ENGINES, PRECISIONS, Execution
from histoseg.errors import ConfigError, DataError, HistosegError
from histoseg.maps.windows import MarginWindows
from histoseg.shards.pool import ReaderPool
from histoseg.slides.cohort import find_slides, require_distinct
from histoseg.slides.options import SegmentOptions
from histoseg.store.objects import FileStore, Store, connect

if TYPE_CHECKING:
    import pyarrow as pa

    from histoseg.inference.regions import SlideWork

logger = logging.getLogger(__name__)

REPORT_EVERY_S = 10.0


def segment(
    slides: Annotated[list[str], typer.Argument(help="Slides or images, folders of them, or s3:// addresses.")],
    model: Annotated[str, typer.Option(help="The folder of a model, or its address as `evaluate` prints it.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// address for the results; each slide makes its own below.")],
    mpp: Annotated[float | None, typer.Option(help="Microns per pixel, where the files do not say.")] = None,
    mask: Annotated[str, typer.Option(help="auto, none, a mask, or a folder of masks named like slides.")] = "auto",
    structures: Annotated[str, typer.Option(help="What to look for, as gland,lumen; without it, everything.")] = "",
    window_px: Annotated[int, typer.Option(help="Side of a window; larger is faster and takes more memory.")] = 1024,
    margin_px: Annotated[int, typer.Option(help="Context on each side of what a window predicts.")] = 152,
    engine: Annotated[
        str, typer.Option(help=f"{', '.join(ENGINES)}; auto takes the fastest with equal results.")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, or bf16 for GPUs, which changes some pixels.")] = "fp32",
    overwrite: Annotated[bool, typer.Option(help="Replace results of another model or of other options.")] = False,
) -> None:
    """Find glands, lumina, nuclei and classes of tissue in slides and images; what is there already is kept."""
    from histoseg.inference.segment import require_structures, segment_slide

    options = SegmentOptions(
        mpp=mpp,
        windows=MarginWindows(window_px=window_px, margin_px=margin_px),
        mask=mask,
        structures=tuple(filter(None, structures.split(","))),
        overwrite=overwrite,
        execution=choose_execution(engine, precision),
    )
    addresses = find_slides(slides)
    require_distinct(addresses)
    store = open_results(out)
    loaded = open_model(model)
    require_structures(loaded, options.structures)
    print(f"{say_slides(len(addresses))} with {loaded.origin}; results go to {out}", flush=True)
    failed = []
    with ReaderPool(1) as readers:
        for address in addresses:
            try:
                summary, was_there = segment_slide(address, loaded, store, options, Progress(), readers)
            except Exception as error:
                failed.append(address)
                typer.echo(f"histoseg: {_explain(address, error)}", err=True)
            else:
                print(f"{summary.name}: {'already there' if was_there else summary.describe()}", flush=True)
    if failed:
        raise HistosegError(f"{len(failed)} of {len(addresses)} slides failed: {', '.join(failed)}")
    print(out)


def _explain(address: str, error: Exception) -> str:
    """A line about a slide that cannot be segmented; errors are raised that the other slides would meet as well."""
    if isinstance(error, DataError | ConfigError):
        return str(error)
    if isinstance(error, HistosegError):
        raise error
    logger.debug("%s", address, exc_info=error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{address}: cannot be segmented ({what}); HISTOSEG_LOG=DEBUG shows the traceback"


def say_slides(count: int) -> str:
    """So many slides, as "1 slide" or "12 slides"."""
    return "1 slide" if count == 1 else f"{count:,} slides"


def open_results(out: str) -> Store:
    """The store of a folder or an address.

    Raises:
        ConfigError: If it is a file, or lies below one.
    """
    if "://" in out:
        return connect(out)
    for part in (Path(out), *Path(out).parents):
        if part.exists() and not part.is_dir():
            raise ConfigError(f"{out}: {part} is a file; name a folder for results")
    return FileStore(Path(out))


def choose_execution(engine: str, precision: str) -> Execution:
    """How the network is to run, from the words of the command line."""
    engines = [name for name in ENGINES if name == engine]
    precisions = [name for name in PRECISIONS if name == precision]
    if not engines:
        raise ConfigError(f"--engine {engine}: choose from {', '.join(ENGINES)}")
    if not precisions:
        raise ConfigError(f"--precision {precision}: choose from {', '.join(PRECISIONS)}")
    return Execution(engine=engines[0], precision=precisions[0])


class Progress:
    """A line every ten seconds: regions, area, objects, speed, and what is left."""

    def __init__(self) -> None:
        self.begun = self.told = time.monotonic()
        self.regions = self.objects = 0

    def __call__(self, work: "SlideWork", done: int, whole: int, table: "pa.Table") -> None:
        """Count a region, and print where its slide stands if that was some time ago."""
        self.regions += 1
        self.objects += len(table)
        now = time.monotonic()
        if now - self.told < REPORT_EVERY_S and (done < whole or whole == 1):
            return
        self.told = now
        whole_mm2, elapsed_s = _whole_mm2(work), now - self.begun
        speed = self.regions / whole * whole_mm2 / elapsed_s * 60
        print(
            f"{work.slide.name}  region {done}/{whole}  {done / whole * whole_mm2:.1f} of {whole_mm2:.1f} mm2  "
            f"{self.objects:,} objects  {speed:.1f} mm2/min  eta {(whole - done) / self.regions * elapsed_s:.0f} s",
            flush=True,
        )


def _whole_mm2(work: "SlideWork") -> float:
    """The area of all regions with tissue."""
    pixels = sum(region.height * region.width for region in work.regions())
    return pixels * work.slide.mpp_at(work.model.mpp) ** 2 / 1e6
