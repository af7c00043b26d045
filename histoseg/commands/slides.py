"""Commands about slides that `histoseg predict` has segmented."""

from pathlib import Path
from typing import Annotated

import typer

from histoseg.errors import ConfigError, DataError
from histoseg.store.objects import FileStore, Store, connect

FEATURES = "features"  # The folder below the results where features are written, unless another is named


def summarise(
    results: Annotated[str, typer.Argument(metavar="DIR", help="The results of slides: a folder, or s3://….")],
    out: Annotated[
        str, typer.Option(help=f"Folder or s3://… for tables and page; without it, {FEATURES} below the results.")
    ] = "",
) -> None:
    """Compute features of glands, slides and cohort from segmented slides; what is there already is kept."""
    from histoseg.features.cohort import find_slides, summarise_slides, write_cohort

    source, target = open_results(results), _open(out or f"{results.rstrip('/')}/{FEATURES}")
    names, unfinished = find_slides(source)
    if not names:
        raise ConfigError(f"{source.url} holds no finished slide, that is <slide>/summary.json; segment one first")
    print(f"{len(names)} slides of {source.url}; features go to {target.url}", flush=True)
    done, failed = [], {}
    for name, result in summarise_slides(source, names, target):
        if isinstance(result, DataError):
            failed[name] = str(result)
            continue
        done.append(result)
        print(f"{name}: {result.describe()}", flush=True)
    page = write_cohort(source, done, failed, target) if done else ""
    if unfinished:
        print(f"not finished, so left out: {', '.join(unfinished)}")
    if failed:
        lines = "; ".join(failed.values())
        raise DataError(f"{len(failed)} of {len(names)} slides failed: {lines}")
    print(page)


def open_results(address: str) -> Store:
    """The folder of results; it must be there."""
    if "://" not in address and not Path(address).is_dir():
        raise ConfigError(f"{address} is not a folder; name the one that slides' results were written to")
    return _open(address)


def _open(address: str) -> Store:
    return connect(address) if "://" in address else FileStore(Path(address))
