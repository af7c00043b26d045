"""A slide from its file to its results: regions one by one, then what lies across their borders, the summary last.

What a region gives is written as soon as it is known, below `<slide>/.parts/`. So a process that is killed has lost
the regions that it held, and the same command goes on with the others. Of the slide, only regions are ever in memory;
what lasts until the end is what their borders cut, and rows of a table.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError, DataError, StoreRefusedError, StoreSetupError
from histoseg.inference.finish import finish, remove_parts
from histoseg.inference.regions import SlideWork, segment_regions
from histoseg.models.weights import Model
from histoseg.runs.plain import digest
from histoseg.shards.pool import DIED
from histoseg.slides.cohort import slide_name
from histoseg.slides.grid import Grid
from histoseg.slides.options import SegmentOptions
from histoseg.slides.reader import Slide, open_slide
from histoseg.slides.summary import Summary, read_summary
from histoseg.slides.tissue import TissueMask, all_of, find_tissue, read_mask
from histoseg.store.objects import FileStore, Store, connect
from histoseg.structures import TISSUE

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 3  # Of what is computed: raised where the same inputs would give other results
SMALL_MM = 2.0  # Images without a longer side are not searched for tissue: they were cut from it.
# Of a slide's file, as much at its begin and at its end stands for its content; smaller local ones are read whole, as
# of an image without compression an edit may change nothing else.
ENDS_BYTES, WHOLE_BYTES = 2**20, 2**27


OnRegion = Callable[[SlideWork, int, int, "pa.Table"], None]  # Regions done and in all, and the objects of the last


def segment_slide(
    address: str,
    model: Model,
    store: Store,
    options: SegmentOptions,
    on_region: OnRegion = lambda *_: None,
    readers: Executor | None = None,
) -> tuple[Summary, bool]:
    """Segment a slide, or what is left of it; returns its summary, and whether it was there already.

    `readers` are those of `open_slide`.

    Raises:
        DataError: If the slide cannot be read or has no tissue.
        ConfigError: If there are results of another model or of other options, which `overwrite` would replace.
    """
    begun = time.monotonic()
    if (earlier := find_done(address, model, store, options)) is not None:
        remove_parts(store, earlier.name)  # Those of a process that was killed between its summary and this
        return earlier, True
    with open_work(address, model, store, options, readers=readers) as work:
        undone = work.undone()
        whole = len(work.regions())
        done = whole - len(undone)
        for _, table in segment_regions(work, undone):
            done += 1
            on_region(work, done, whole, table)
        return finish(work, begun), False


def find_done(address: str, model: Model, store: Store, options: SegmentOptions) -> Summary | None:
    """The summary of a slide that was segmented in the same way; None if it has to be segmented."""
    name = slide_name(address)
    try:
        earlier = read_summary(store, name)
    except DataError:  # It cannot be read, and may be replaced only if that was asked for.
        if not options.overwrite:
            raise
        return None
    if earlier is None:
        return None
    if earlier.made_of == _made_of(address, model, options):
        return earlier if _has_all(store, earlier) else None
    if options.overwrite:
        return None
    what = "another model" if earlier.model.sha256 != model.sha256 else "another file or other options"
    advice = "remove it, give --overwrite (SET=overwrite=true) to replace it, or another --out (OUT)"
    raise ConfigError(f"{store.url}/{name} was made with {what}; {advice}")


def _has_all(store: Store, about: Summary) -> bool:
    """Whether all files are there that a summary names."""
    return {f"{about.name}/{file}" for file in about.files} <= {*store.list(f"{about.name}/")}


@contextmanager
def open_work(
    address: str,
    model: Model,
    store: Store,
    options: SegmentOptions,
    mask: TissueMask | None = None,
    *,
    readers: Executor | None = None,
) -> Iterator[SlideWork]:
    """A slide, divided into regions; nothing is computed but its mask, unless that is given, as it was found before.

    Raises:
        DataError: If the slide cannot be read, or has no tissue.
        ConfigError: If the model does not find a structure that is asked for.
    """
    require_structures(model, options.structures)
    predictor = model.spec.regions(model.network, heads=options.structures, mpp=model.mpp, execution=options.execution)
    with _open(address, options.mpp, readers) as slide:
        mask = mask or find_mask(slide, options.mask)
        if not mask.mask.any():
            advice = "`histoseg segment` with --mask none (SET=mask=none) segments all of it, or give it a mask"
            raise DataError(f"{address}: no tissue was found; {advice}")
        grid = Grid(
            size_px=slide.size_at(model.mpp),
            windows=options.windows,
            unit_px=predictor.unit_px,
            region_px=options.region_px,
        )
        yield SlideWork(
            slide=slide,
            model=model,
            predictor=predictor,
            grid=grid,
            mask=mask,
            store=store,
            made_of=_made_of(address, model, options),
        )


def _open(address: str, mpp: float | None, readers: Executor | None) -> Slide:
    try:
        return open_slide(address, mpp, readers=readers)
    except BrokenProcessPool as error:
        raise DataError(f"{address}: reading it {DIED}; fetch the file again") from error
    except StoreSetupError:
        raise  # It concerns every slide.
    except StoreRefusedError as error:
        raise DataError(f"{address}: cannot be read: {error}") from error


def require_structures(model: Model, wanted: Sequence[str]) -> None:
    """Refuse structures that the model has no head for."""
    heads = model.spec.heads(model.network).num_classes
    choices = [name for name in heads if not name.endswith("_type") and name != TISSUE]
    if missing := [name for name in wanted if name not in choices]:
        raise ConfigError(f"the model does not find {', '.join(missing)}; choose from {', '.join(choices)}")


def find_mask(slide: Slide, choice: str) -> TissueMask:
    """The mask of a slide, as chosen; small images were cut from tissue, so they are tissue."""
    longest_mm = max(slide.size_px) * slide.mpp / 1000
    if choice == "none" or (choice == "auto" and longest_mm < SMALL_MM):
        return all_of(slide)
    if choice == "auto":
        return find_tissue(slide)
    return read_mask(_mask_path(slide.name, choice), slide)


def _mask_path(name: str, choice: str) -> Path:
    """The file of a slide's mask: the one given, or that of its name in the folder given."""
    path = Path(choice)
    if not path.is_dir():
        return path
    found = sorted(file for file in path.iterdir() if file.stem == name)
    if len(found) != 1:
        text = f"{len(found)} files" if found else "no file"
        raise DataError(f"{path}: {text} named {name}.*, as the mask of that slide; expected one")
    return found[0]


def _made_of(address: str, model: Model, options: SegmentOptions) -> str:
    """A digest of everything that a slide's results depend on."""
    about = [model.sha256, model.mpp, dict(model.classes), asdict(options.windows), options.mpp, *model.caveats]
    mask = (
        options.mask
        if options.mask in ("auto", "none")
        else identify(str(_mask_path(slide_name(address), options.mask)))
    )
    if options.execution.precision != "fp32":
        about.append(options.execution.precision)  # Engines of one precision differ by rounding, as processors do.
    return digest([FORMAT, identify(address), mask, *options.structures, options.region_px, *about])


def identify(address: str) -> str:
    """A digest of a file, or of its size and ends: to read all of a slide, or one in a bucket, would take minutes."""
    if "://" in address:
        folder, _, key = address.rpartition("/")
        store: Store = connect(folder)
    else:
        key = Path(address).name
        store = FileStore(Path(address).absolute().parent)
    size = store.size(key)
    if size is None:
        raise DataError(f"{address}: there is no such file; correct the name")
    num_bytes = size if size <= WHOLE_BYTES and "://" not in address else min(ENDS_BYTES, size)
    ends = b"".join(store.get_range(key, start, num_bytes) for start in sorted({0, size - num_bytes}))
    return f"{size}-{hashlib.sha256(ends).hexdigest()}"
