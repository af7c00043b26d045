"""The command that writes the objects of segmented slides in forms that other programs open."""

import sys
from typing import Annotated

import typer

from histoseg.commands.segment import open_results, say_slides
from histoseg.errors import DataError


def export(
    results: Annotated[str, typer.Argument(help="The folder that `segment` wrote, or its s3:// address.")],
    to: Annotated[str, typer.Option(help="The form: geojson, csv, annotation_store, dat, spatialdata.")],
    slide: Annotated[list[str] | None, typer.Option(help="Only this slide; repeatable.")] = None,
    out: Annotated[str, typer.Option(help="Another folder or s3:// address; without it, beside the results.")] = "",
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress geojson and csv.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Write again what is there already.")] = False,
) -> None:
    """Write the objects of segmented slides for QuPath, TIAToolbox, SpatialData or spreadsheets."""
    from histoseg.exports._export import choose_slides, export_slide, load_form

    form = load_form(to, is_packed=gzip)
    store = open_results(results)
    target = open_results(out) if out else store
    names = choose_slides(store, slide or [])
    print(f"{say_slides(len(names))} as {to}; results go to {target.url}", flush=True)
    failed = []
    for name in names:
        try:
            print(export_slide(store, name, form, target, overwrite=overwrite), flush=True)
        except DataError as error:  # The other slides may be whole.
            failed.append(name)
            print(f"histoseg: {error}", file=sys.stderr)
    if failed:
        raise DataError(f"{len(failed)} of {len(names)} slides failed: {', '.join(failed)}")
    print(out or results)
