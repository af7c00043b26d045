"""The commands `histoseg annotate …`: growing a data set with a pathologist, round by round."""

from pathlib import Path
from typing import Annotated

import typer

from histoseg.annotate.gain import Rule
from histoseg.annotate.plan import PLAN, read_plan, write_plan
from histoseg.commands.models import open_model
from histoseg.errors import ConfigError
from histoseg.files.notes import collect
from histoseg.slides.cohort import find_slides, require_distinct
from histoseg.store.objects import connect

annotate = typer.Typer(
    help="Grow a data set: regions that a model finds difficult, out to be corrected and back again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
STRATEGY = "difficult: where the model is most unsure; representative: what stands for most of that; or random."
PER_IMAGE = "Most regions of one image while others have fewer; 0: twice an equal share. Not for representative ones."
Round = Annotated[Path, typer.Argument(metavar="ROUND", help="The folder of a round, as `annotate next` wrote it.")]


@annotate.command("next")
def next_round(
    images: Annotated[list[str], typer.Argument(help="Slides or images without labels, folders, or s3:// addresses.")],
    model: Annotated[str, typer.Option(help="The folder of a model, or its address as `evaluate` prints it.")],
    out: Annotated[Path, typer.Option(help="A new folder for the round.")],
    count: Annotated[int, typer.Option(help="How many regions are to be corrected.")] = 20,
    structure: Annotated[str, typer.Option(help="What is corrected, as nuclei; needed where a model finds more.")] = "",
    strategy: Annotated[str, typer.Option(help=STRATEGY)] = "difficult",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the strategy random.")] = 0,
    size_px: Annotated[int, typer.Option(help="Side of a region.")] = 1000,
    region_mpp: Annotated[float, typer.Option(help="Microns per pixel of the regions; 0: the model's.")] = 0.0,
    per_image: Annotated[int, typer.Option(help=PER_IMAGE)] = 0,
    mpp: Annotated[float | None, typer.Option(help="Microns per pixel, where the files do not say.")] = None,
    mask: Annotated[str, typer.Option(help="auto, none, a mask, or a folder of masks named like slides.")] = "auto",
    done: Annotated[list[Path] | None, typer.Option(help="An earlier round, to be left out; repeatable.")] = None,
) -> None:
    """Choose the regions that are to be annotated next, and write them down with a page to look at."""
    from histoseg.annotate.page import make_page
    from histoseg.annotate.propose import Wish, propose, strategy_of

    if (out / PLAN).exists():
        raise ConfigError(f"{out} is a round already; name a new folder")
    wish = Wish(
        count=count,
        structure=structure,
        strategy=strategy_of(strategy),
        seed=seed,
        size_px=size_px,
        region_mpp=region_mpp,
        per_image=per_image,
        mpp=mpp,
        mask=mask,
        done={name: region.image for earlier in done or [] for name, region in read_plan(earlier).by_name.items()},
    )
    addresses = find_slides(images)
    require_distinct(addresses)
    loaded = open_model(model)
    print(f"{len(addresses)} images with {loaded.origin}; the round goes to {out}", flush=True)
    plan, ranking = propose(
        addresses, loaded, model, wish, lambda name, num: print(f"{name}: {num} regions", flush=True)
    )
    write_plan(out, plan, ranking, make_page(plan, ranking))
    for region in plan.regions:
        print(f"{region.name}" + ("" if region.score is None else f" {region.score:.3f}"))
    print(out)


@annotate.command("export")
def export_regions(
    folder: Round,
    model: Annotated[str, typer.Option(help="The model's address, if it has moved since `annotate next`.")] = "",
) -> None:
    """Write a round's regions as images with what the model finds in them, for QuPath and TIAToolbox."""
    from histoseg.annotate.export import export_round

    plan = read_plan(folder)
    loaded = open_model(model or plan.model.address)
    print(f"{len(plan.regions)} regions with {loaded.origin}", flush=True)
    print(export_round(folder, plan, loaded, lambda region, text: print(f"{region.name}: {text}", flush=True)))


@annotate.command("import")
def import_regions(
    folder: Round,
    files: Annotated[list[Path], typer.Argument(help="Corrected GeoJSON files named like their regions, or folders.")],
    source: Annotated[str, typer.Option(help="The source that they go to, as our_nuclei; made if it is not there.")],
    by: Annotated[str, typer.Option(help="Who corrected them.")],
    raw: Annotated[Path, typer.Option(help="The folder of raw data that the source lies in, as `prepare` takes it.")],
    accept_empty: Annotated[
        bool, typer.Option("--accept-empty", help="Take files without an object: their regions have none.")
    ] = False,
    accept_redrawn: Annotated[
        bool, typer.Option("--accept-redrawn", help="Take files without any of the objects that were exported.")
    ] = False,
) -> None:
    """Check corrected regions and merge them into a source as a new version of it: all of them, or none."""
    from histoseg.annotate.take_in import Delivery, say_origins, take_in

    delivery = Delivery(
        files=files, raw=raw, source=source, by=by, accept_empty=accept_empty, accept_redrawn=accept_redrawn
    )
    with collect() as notes:
        found, is_new = take_in(folder, delivery)
    for text, number in sorted(notes.items()):
        print(f"note: {text}: {number}")
    regions = found.regions
    print(f"{source}, version {found.version}: {len(regions)} regions by {found.by}; {say_origins(regions)}")
    if not is_new:
        print("the source has had these regions since then; nothing was merged")
    print(f"then: histoseg prepare {source} --raw {raw} --store URL")
    print(found.source)


@annotate.command("status")
def status(
    rounds: Annotated[list[Path], typer.Argument(metavar="ROUNDS…", help="The folders of rounds, the first first.")],
    store: Annotated[str, typer.Option(help="The store with the records of the rounds' models.")] = "",
    score: Annotated[str, typer.Option(help="With a store: the score that is to grow, as test.nuclei.pq.")] = "",
    model: Annotated[str, typer.Option(help="The model that was trained after the last round, if there is one.")] = "",
    last_rounds: Annotated[int, typer.Option(min=1, help="Over how many rounds the gain is averaged.")] = 2,
    least_gain: Annotated[float, typer.Option(help="Annotation stops where that mean is below it.")] = 0.005,
) -> None:
    """Show what each round annotated and gained, and whether to stop."""
    from histoseg.annotate.status import say_status

    if bool(store) != bool(score):
        raise ConfigError("--store and --score go together: give both, or none")
    rule = Rule(last_rounds=last_rounds, least_gain=least_gain)
    newest = open_model(model).sha256 if model else ""
    for line in say_status(rounds, newest, connect(store) if store else None, score, rule):
        print(line)
