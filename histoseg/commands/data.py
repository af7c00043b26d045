"""Commands about data: what there is, declaring a folder, preparing sources."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Annotated

import typer

from histoseg.errors import ConfigError, DataError
from histoseg.pipeline.plan import data_of, load_experiment, sources_of
from histoseg.runs import catalog
from histoseg.runs.catalog import Source
from histoseg.runs.config import Data
from histoseg.runs.request import Request
from histoseg.shards.index import open_index
from histoseg.shards.pool import shard_pool
from histoseg.shards.prepare import prepare_sources
from histoseg.shards.reader import ShardCache
from histoseg.shards.verify import prepared_sources
from histoseg.shards.writer import Recipe
from histoseg.sources._declaration import FILE
from histoseg.sources._declared import find_declarations, load_source
from histoseg.sources._draft import look_at
from histoseg.sources._draft_file import name_of, to_toml
from histoseg.store.objects import connect
from histoseg.types import is_credible_mpp, say_credible_mpp

CACHE = Path(".histoseg/cache")
Cache = Annotated[Path, typer.Option(help="Folder for verified copies of shards.")]
StoreUrl = Annotated[str, typer.Option("--store", help="Where shards, models and records lie: file:///… or s3://…")]


def list_names(
    raw: Annotated[Path | None, typer.Option(help="List also the sources that are declared in this folder.")] = None,
) -> None:
    """List sources, methods, listeners and experiments with their scales."""
    kinds = {
        "sources": _say_task,
        "methods": _first_line,
        "listeners": _first_line,
        "exports": _first_line,
        "experiments": _say_scales,
    }
    for kind, describe in kinds.items():
        print(kind)
        for name in catalog.names(f"histoseg.{kind}"):
            try:
                text = describe(catalog.load(f"histoseg.{kind}", name))
            except ConfigError as error:  # One module is faulty; the others can still be used.
                text = f"cannot be used: {error}"
            print(f"  {name:16} {text}")
    if raw is not None:
        _list_declared(find_declarations(raw))


def _list_declared(declared: Mapping[str, Path]) -> None:
    print("declared sources")
    for name, path in declared.items():
        try:
            text = f"{_say_task(load_source(name, declared))}; {path}"
        except DataError as error:
            text = f"cannot be used: {error}"
        print(f"  {name:16} {text}")


def declare(
    folder: Annotated[Path, typer.Argument(help="A folder with images and their masks, or images in class folders.")],
    mpp: Annotated[float, typer.Option(help="Microns per pixel of the images, if known.")] = 0.0,
) -> None:
    """Write a source.toml by a look at a folder, which makes it a source for `prepare` once you have checked it."""
    if mpp and not is_credible_mpp(mpp):
        raise ConfigError(f"--mpp {mpp:g}: must be {say_credible_mpp()}")
    path = folder / FILE
    if path.exists():
        raise ConfigError(f"{path} is there already; correct it, or remove it first")
    draft = look_at(folder)
    path.write_text(to_toml(draft, folder, mpp), encoding="utf-8")
    print(f"{len(draft.names)} images as {draft.images}, with labels as {draft.labels or 'their folders'}")
    known = f"{len(draft.patients)}, such as {', '.join(draft.patients[:3])}" if draft.patient else "not in the names"
    print(f"patients: {known}")
    for remark in (*draft.remarks, *(() if mpp else ("mpp: state how many microns a pixel has",))):
        print(f"check {remark}")
    name = name_of(folder)
    print(f"then: histoseg prepare {name} --raw {quote(str(folder))} --store URL, and histoseg look {name} --store URL")
    print(path)


def prepare(
    sources: Annotated[list[str], typer.Argument(help="Sources to write, or `all` that the folder holds.")],
    raw: Annotated[
        Path, typer.Option(help="Folder that holds the raw data sets, as published or each with a source.toml.")
    ],
    store: StoreUrl,
    experiment: Annotated[str, typer.Option(help="Write what this experiment reads, in its layout.")] = "",
    scale: Annotated[str, typer.Option(help="With an experiment: its size, laptop if not said.")] = "",
    patch_px: Annotated[
        int | None, typer.Option(help="Without an experiment: side of the patches to be trained on, 768 if not said.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="Reader option, e.g. consensus=majority.")] = None,
    deal_anew: Annotated[list[str] | None, typer.Option(help="Source whose published folds are not kept.")] = None,
    rewrite: Annotated[bool, typer.Option(help="Write also what is there already.")] = False,
) -> None:
    """Turn raw data sets into shards and an index; what is there already is kept."""
    declared = find_declarations(raw)
    data, known = _what_to_prepare(experiment, scale, patch_px, declared)
    chosen, strict = (known, False) if sources == ["all"] else (sources, True)
    if experiment and (unread := [name for name in chosen if name not in known]):
        raise ConfigError(f"no run of {experiment} would read {', '.join(unread)}; it reads {', '.join(known)}")
    recipe = Recipe(
        data=data,
        options=_pairs(option or []),
        rewrite=rewrite,
        unbound=tuple(deal_anew or []),
        declared=declared,
    )
    target = connect(store)
    with shard_pool() as pool:
        prepared = prepare_sources(chosen, raw, target, recipe, pool, strict=strict)
    for source, index in prepared.indexes.items():
        images, patients = len(set(index.samples.image)), len(set(index.samples.patient))
        print(f"{source}: {images} images of {patients} patients in {len(index.shards)} shards")
    if prepared.absent:
        print(f"not found in {raw}: {', '.join(prepared.absent)}; name one instead of `all` to see what is looked for")
    if prepared.failures:
        raise DataError("; ".join(prepared.failures))
    print(target.url)


def look(
    store: StoreUrl,
    sources: Annotated[list[str] | None, typer.Argument(help="Prepared sources; without one, all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page.")] = Path("look"),
    layout: Annotated[str, typer.Option(help="The layout, where a source is prepared in several; else all.")] = "",
    images: Annotated[int, typer.Option(min=1, help="Images of each source.")] = 8,
    cache: Cache = CACHE,
) -> None:
    """Make a page of prepared images with their truth drawn over them, to be looked at before training."""
    from histoseg.report.look import write_look

    target = connect(store)
    found = prepared_sources(target)
    wanted = [(name, one) for name, one in found if (not sources or name in sources) and layout in ("", one)]
    absent = sorted({*(sources or [])} - {name for name, _ in wanted})
    if absent or not wanted:
        what = f"{', '.join(absent) or 'any source'}{layout and f' as {layout}'}"
        choices = ", ".join(f"{name} ({one})" for name, one in found) or "nothing; see `histoseg prepare --help`"
        raise DataError(f"{target.url} lacks {what}; it holds {choices}")
    indexes = [open_index(target, name, one) for name, one in wanted]
    for index in indexes:
        print(f"{index.task.name} ({index.layout}): {len(set(index.samples.image))} images")
    print(write_look(indexes, ShardCache(target, cache), out, images))


def _what_to_prepare(
    experiment: str, scale: str, patch_px: int | None, declared: Mapping[str, Path]
) -> tuple[Data, list[str]]:
    """How images are stored, and which sources `all` stands for."""
    if experiment and patch_px is not None:
        raise ConfigError(f"{experiment} says how large patches are; leave out --patch-px {patch_px} or --experiment")
    if scale and not experiment:
        raise ConfigError(f"--scale {scale} is the size of an experiment; name it with --experiment, or leave it out")
    if not experiment:
        known = [*catalog.names(catalog.SOURCES), *declared]
        return Data() if patch_px is None else Data(patch_px=patch_px), known
    request = Request(experiment=experiment, scale=scale or "laptop")
    data = data_of(request.experiment, request.scale, request.sets)
    return data, sources_of(load_experiment(request.experiment, request.scale), declared)


def _pairs(texts: list[str]) -> dict[str, str]:
    if bad := [text for text in texts if "=" not in text]:
        raise ConfigError(f"option {bad[0]!r} is not written as name=value")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0]


def _say_task(source: ModuleType | Source) -> str:
    task = source.TASK
    return f"{task.title}: {', '.join(task.classes)}; {task.mpp} µm/px; {task.licence}"


def _say_scales(module: ModuleType) -> str:
    return f"{_first_line(module)} Scales: {', '.join(module.SCALES)}."
