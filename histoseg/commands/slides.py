"""Commands about slides that `histoseg segment` has gone through: features of them, and scores."""

from pathlib import Path
from typing import Annotated

import typer

from histoseg.commands.segment import open_results, say_slides
from histoseg.errors import ConfigError, DataError
from histoseg.files.notes import collect
from histoseg.store.objects import FileStore, Store

FEATURES = "features"  # The folder below the results where features are written, unless another is named


def summarise(
    results: Annotated[str, typer.Argument(metavar="DIR", help="The results of slides: a folder, or s3://….")],
    out: Annotated[
        str, typer.Option(help=f"Folder or s3://… for tables and page; without it, {FEATURES} below the results.")
    ] = "",
) -> None:
    """Compute features of glands, slides and cohort from segmented slides; what is there already is kept."""
    from histoseg.features.cohort import find_slides, summarise_slides, write_cohort

    source, target = _existing(results), open_results(out or f"{results.rstrip('/')}/{FEATURES}")
    names, unfinished = find_slides(source)
    if not names:
        raise ConfigError(f"{source.url} holds no finished slide, that is <slide>/summary.json; segment one first")
    print(f"{source.url}: {say_slides(len(names))} finished; features go to {target.url}", flush=True)
    done, failed = [], {}
    for name, result in summarise_slides(source, names, target):
        if isinstance(result, DataError):
            failed[name] = str(result)
            typer.echo(f"histoseg: {result}", err=True)
            continue
        done.append(result)
        print(f"{name}: {result.describe()}", flush=True)
    page = write_cohort(source, done, failed, target) if done else ""
    if unfinished:
        print(f"not finished, so left out: {', '.join(unfinished)}")
    if failed:
        raise DataError(f"{len(failed)} of {len(names)} slides failed: {', '.join(failed)}")
    print(page)


def evaluate_slides(
    results: Annotated[str, typer.Argument(metavar="DIR", help="The results of slides: a folder, or s3://….")],
    truth: Annotated[
        Path,
        typer.Option(help="Folder of truth: <slide>.geojson of QuPath, or label images with their place on the slide."),
    ],
    structure: Annotated[
        list[str] | None, typer.Option(help="Score only this, e.g. nuclei; repeatable. Without it, all that is there.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for scores.json and regions.csv.")] = Path("evaluation"),
) -> None:
    """Compare segmented slides with the truth of some regions: PQ, Dice, and mPQ where objects have classes."""
    from histoseg.scoring._slide_scores import FILES, left_out, say_scores, score_slides, to_csv, to_json

    source, target = _existing(results), FileStore(out)
    print(f"regions of {truth} in the slides of {source.url}; scores go to {out}", flush=True)
    regions = []
    with collect() as notes:
        for region in score_slides(source, truth, structure or []):
            regions.append(region)
            scores = ", ".join(f"{name} {score:.3f}" for name, score in region.scores.items())
            print(f"{region.truth.slide}, {region.truth.name}, {region.truth.structure}: {scores}", flush=True)
    if not regions:
        raise DataError(f"{truth} has no truth of {', '.join(structure or [])}; leave out --structure to see all")
    for text, body in zip(FILES, (to_csv(regions), to_json(regions)), strict=True):
        target.put(text, body.encode())
    for text, count in sorted(notes.items()):
        print(f"note: {text}: {count}")
    if names := left_out(source, truth):
        print(f"truth without results, so left out: {', '.join(names)}")
    print("\n".join(say_scores(regions)))
    print(out)


def _existing(address: str) -> Store:
    """The folder of results; it must be there."""
    if "://" not in address and not Path(address).is_dir():
        raise ConfigError(f"{address} is not a folder; name the one that slides' results were written to")
    return open_results(address)
