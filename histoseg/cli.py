"""The command `histoseg`: the steps of an experiment one at a time, in one process, without Ray."""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histoseg.commands import data
from histoseg.commands.annotate import annotate
from histoseg.commands.data import CACHE, Cache, StoreUrl
from histoseg.commands.export import export
from histoseg.commands.models import device_to_train_on
from histoseg.commands.representation import features, put_weights
from histoseg.commands.segment import segment
from histoseg.commands.slides import evaluate_slides, summarise
from histoseg.commands.suggest import suggest
from histoseg.commands.view import view
from histoseg.demo.slides import write_slide
from histoseg.demo.write import write_demo_data
from histoseg.doctor.all_checks import DoctorOptions, all_checks
from histoseg.errors import ConfigError, HistosegError
from histoseg.pipeline.plan import Plan, make_plan
from histoseg.records.exporter import serve
from histoseg.records.schema import Record
from histoseg.runs.config import Run
from histoseg.runs.job import RELEASE
from histoseg.runs.names import stage_name, to_json
from histoseg.runs.request import Request
from histoseg.shards.verify import prepared_sources, verify_source
from histoseg.store.keys import model_folder
from histoseg.store.objects import FileStore, Store, connect
from histoseg.training.listeners import LogLine
from histoseg.training.listening import TrainingContext, listening, require_listeners

if TYPE_CHECKING:
    from histoseg.training.process import Process

app = typer.Typer(
    help="Many small annotated histology data sets as one sharded meta-dataset, and meta-learning on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Scale = Annotated[str, typer.Option(help="The experiment's size; `histoseg list` shows the choices.")]
Seeds = Annotated[int, typer.Option(min=1, help="How many seeds, counted from 0.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Change a field, e.g. optim.steps=200; repeatable.")]
Listen = Annotated[
    list[str] | None, typer.Option(help="What hears the training's progress, e.g. tensorboard; repeatable.")
]

app.command("list")(data.list_names)
app.command()(data.declare)
app.command()(data.prepare)
app.command()(data.look)
app.command()(segment)
app.command("predict", hidden=True)(segment)  # What it was called while it took only images that fit into memory
app.command()(features)
app.command("put-weights")(put_weights)
app.command()(export)
app.command()(summarise)
app.command()(evaluate_slides)
app.command()(view)
app.command()(suggest)
app.add_typer(annotate, name="annotate")


@app.command("demo-data")
def demo_data(
    folder: Annotated[Path, typer.Argument(help="Where to write; every source makes its own folder below.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other images.")] = 0,
) -> None:
    """Draw small H&E-looking images and write them in each source's native layout."""
    write_demo_data(folder, seed)
    print(folder)


@app.command("demo-slide")
def demo_slide(
    file: Annotated[Path, typer.Argument(help="A pyramidal TIFF to write, as slide.tif.")],
    width: Annotated[int, typer.Option(min=512, help="Pixels of half a micron.")] = 6000,
    height: Annotated[int, typer.Option(min=512, help="Pixels of half a micron.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws another slide.")] = 0,
) -> None:
    """Draw a slide of H&E-looking mucosa, to try `segment` and `view`; prints how many objects it shows."""
    drawn = write_slide(file, width=width, height=height, mpp=0.5, seed=seed)
    print(", ".join(f"{name} {count}" for name, count in drawn.counts.items()))
    print(file)


@app.command()
def verify(store: StoreUrl) -> None:
    """Compare every stored byte of every prepared source with its index."""
    target = connect(store)
    found = prepared_sources(target)
    faults = 0
    for source, layout in found:
        lines = list(verify_source(target, source, layout))
        print(f"{source} ({layout}): {'damaged' if lines else 'whole'}")
        for line in lines:
            print(f"  {line}")
        faults += len(lines)
    if not found or faults:
        nothing = f"nothing is prepared at {store}; correct --store, or write there: histoseg prepare --help"
        raise typer.Exit(_complain(f"{faults} faults" if found else nothing))
    print(target.url)


def _on_cell(action: Callable[[Run, Store, Path, "Process"], None]) -> Callable[..., None]:
    """A command whose options name one cell of an experiment, which the action gets as a run."""

    def command(
        experiment: str,
        store: StoreUrl,
        cell: Annotated[str, typer.Option(help="Which one, if there are several; without it, they are listed.")] = "",
        scale: Scale = "laptop",
        seed: Annotated[int, typer.Option(min=0)] = 0,
        set_: Sets = None,
        listen: Listen = None,
        cache: Cache = CACHE,
    ) -> None:
        request = Request(
            experiment=experiment,
            store=store,
            scale=scale,
            seeds=seed + 1,
            sets=_words(set_),
            listen=_words(listen),
        )
        target = connect(store)
        run, stage = _find_run(request, target, cell)
        with _process(request, run, stage, target) as process:
            action(run, target, cache, process)

    command.__doc__ = action.__doc__
    return command


@app.command("train")
@_on_cell
def train(run: Run, store: Store, cache: Path, process: "Process") -> None:
    """Train the first stage of a cell, which it shares with others, or resume it; prints where the network lies."""
    from histoseg.pipeline.complete import open_dataset
    from histoseg.pipeline.stage import train_stage

    dataset = open_dataset([run], store, cache)
    train_stage(run, 0, None, dataset, store, process)
    print(f"{store.url}/{model_folder(stage_name(run, 0, dataset.checksums))}")


@app.command("evaluate")
@_on_cell
def evaluate(run: Run, store: Store, cache: Path, process: "Process") -> None:
    """Train a cell's stages if need be, score the network, write the record; prints where the model is."""
    from histoseg.pipeline.complete import complete

    for key in complete([run], store, cache, process):
        record = Record.model_validate_json(store.get(key))
        for name, score in record.scores.items():
            print(f"{name} {score:.3f}")
        print(f"model: {store.url}/{record.model}")
        print(f"{store.url}/{key}")


@app.command()
def report(
    experiment: str,
    store: StoreUrl,
    scale: Scale = "laptop",
    seeds: Seeds = 1,
    set_: Sets = None,
    out: Annotated[Path, typer.Option(help="Folder for the table, the pictures and the page.")] = Path("results"),
) -> None:
    """Build the table, its pictures and its page from the records in the store."""
    from histoseg.report.write import write_report

    request = Request(experiment=experiment, store=store, scale=scale, seeds=seeds, sets=_words(set_))
    target = connect(store)
    typed = ["histoseg", "report", experiment, "--store", store, "--scale", scale, "--seeds", str(seeds)]
    command = shlex.join([*typed, *(f"--set={assignment}" for assignment in request.sets)])
    written = write_report(_plan(request, target), target, out, command=command)
    print(written.table)
    print(written.page)


@app.command("import-weights")
def import_weights(
    weights: Annotated[Path, typer.Argument(help="A checkpoint that the authors of Cerberus or HoVer-Net published.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, as `segment` takes it.")],
) -> None:
    """Turn a published checkpoint into a model; nothing in the file is executed."""
    from histoseg.models.published import import_published
    from histoseg.models.weights import save_model

    model = import_published(weights)
    save_model(model, FileStore(out), "")
    heads = [f"{name} {count}" for name, count in model.spec.heads(model.network).num_classes.items()]
    print(f"{sum(value.numel() for value in model.network.parameters()):,} parameters")
    print(f"{len(heads)} heads with so many classes: {', '.join(heads)}")
    print(out)


@app.command()
def doctor(
    store: Annotated[str, typer.Option(help="A store to try: put, get, list, delete.")] = "",
    dashboard: Annotated[
        str, typer.Option(help="A Ray dashboard: does it ask for the token (of RAY_AUTH_TOKEN)?")
    ] = "",
    cluster: Annotated[str, typer.Option(help="A context of your kubeconfig: can a job be submitted there?")] = "",
    namespace: Annotated[str, typer.Option(help="In that cluster; without it, the context's.")] = "",
    release: Annotated[str, typer.Option(help="The chart's release in that namespace.")] = RELEASE,
    experiment: Annotated[str, typer.Option(help="Which of its runs do the store's data allow?")] = "",
    scale: Scale = "laptop",
    machine: Annotated[
        bool | None, typer.Option(help="Check this machine, or not; without it, if nothing runs elsewhere.")
    ] = None,
) -> None:
    """Check before anything is spent: this machine, a store, a dashboard, a cluster."""
    elsewhere = bool(dashboard or cluster)
    options = DoctorOptions(
        store=store,
        dashboard=dashboard,
        cluster=cluster,
        namespace=namespace,
        release=release,
        experiment=experiment,
        scale=scale,
        machine=not elsewhere if machine is None else machine,
    )
    bad = 0
    for check in all_checks(options):
        advice = f" -> {check.advice}" if check.advice and not check.ok else ""
        print(f"{'ok ' if check.ok else 'NOT'}  {check.what}: {check.found}{advice}", flush=True)
        bad += not check.ok
    if bad:
        raise typer.Exit(_complain(f"{bad} checks failed"))


@app.command()
def exporter(
    store: StoreUrl,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 in a pod.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 9464,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two readings of the store.")] = 30.0,
) -> None:
    """Serve what the records say to Prometheus, until SIGTERM."""
    serve(connect(store), host, port, every)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; what goes wrong is one line and exit code 1, or 2 if the command itself cannot be."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("histoseg").setLevel(os.environ.get("HISTOSEG_LOG", "INFO"))
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # What it would log of a damaged file is in our errors.
    try:
        app(arguments)
    except HistosegError as error:
        sys.exit(_complain(str(error)))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted; the same command goes on where this one was"))


def _complain(text: str) -> int:
    print(f"histoseg: {text}", file=sys.stderr)
    return 1


def _words(texts: list[str] | None) -> tuple[str, ...]:
    """What was given by one option or several, each with one word or several."""
    return tuple(word for text in texts or [] for word in text.split())


def _plan(request: Request, store: Store) -> Plan:
    return make_plan(request.experiment, store, request.scale, request.seeds, request.sets)


def _find_run(request: Request, store: Store, cell: str) -> tuple[Run, str]:
    """The run of a cell with the request's last seed, and the name of the training that it begins with."""
    plan = _plan(request, store)
    choices = {run.address: run for run in plan.runs if run.seed == request.seeds - 1}
    run = choices.get(cell) or (next(iter(choices.values())) if len(choices) == 1 and not cell else None)
    if run is None:
        names = "; ".join(f'"{each}"' for each in choices)
        what = f"has no cell {cell!r}" if cell else "has several cells"
        raise ConfigError(f"{request.experiment} {what}; choose --cell from {names}")
    return run, next(stage for stage, runs in plan.groups.items() if run in runs)


@contextmanager
def _process(request: Request, run: Run, stage: str, store: Store) -> Iterator["Process"]:
    """This process, to train in, with the request's listeners."""
    from histoseg.training.process import Process

    require_listeners(request.listen)
    device = device_to_train_on()
    context = TrainingContext(
        id=stage, experiment=request.experiment, config=to_json(run), store=store, home=CACHE.parent.absolute()
    )
    with listening(request.listen, context) as asked:
        yield Process(device=device, listeners=(LogLine(), *asked))


if __name__ == "__main__":
    main()
