"""The command `histoseg`: the steps of an experiment one at a time, in one process, without Ray."""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from histoseg.demo.write import write_demo_data
from histoseg.doctor.all_checks import DoctorOptions, all_checks
from histoseg.errors import ConfigError, DataError, HistosegError
from histoseg.maps.windows import MarginWindows
from histoseg.pipeline.plan import Plan, data_of, load_experiment, make_plan
from histoseg.records.exporter import serve
from histoseg.records.schema import Record
from histoseg.runs import catalog
from histoseg.runs.config import Data, Run
from histoseg.runs.job import RELEASE
from histoseg.runs.names import stage_name, to_json
from histoseg.runs.request import Request
from histoseg.shards.pool import shard_pool
from histoseg.shards.prepare import prepare_sources
from histoseg.shards.verify import prepared_sources, verify_source
from histoseg.shards.writer import Recipe
from histoseg.store.keys import model_folder
from histoseg.store.objects import FileStore, Store, connect
from histoseg.training.listeners import LogLine
from histoseg.training.listening import TrainingContext, listening, require_listeners

if TYPE_CHECKING:
    import torch

    from histoseg.training.process import Process

app = typer.Typer(
    help="Many small annotated histology data sets as one sharded meta-dataset, and meta-learning on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StoreUrl = Annotated[str, typer.Option("--store", help="Where shards, models and records lie: file:///… or s3://…")]
Scale = Annotated[str, typer.Option(help="The experiment's size; `histoseg list` shows the choices.")]
Seeds = Annotated[int, typer.Option(min=1, help="How many seeds, counted from 0.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Change a field, e.g. optim.steps=200; repeatable.")]
Listen = Annotated[
    list[str] | None, typer.Option(help="What hears the training's progress, e.g. tensorboard; repeatable.")
]
Cache = Annotated[Path, typer.Option(help="Folder for verified copies of shards.")]
CACHE = Path(".histoseg/cache")


@app.command("list")
def list_names() -> None:
    """List sources, methods, listeners and experiments with their scales."""
    kinds = {"sources": _say_task, "methods": _first_line, "listeners": _first_line, "experiments": _say_scales}
    for kind, describe in kinds.items():
        print(kind)
        for name in catalog.names(f"histoseg.{kind}"):
            try:
                text = describe(catalog.load(f"histoseg.{kind}", name))
            except ConfigError as error:  # One module is faulty; the others can still be used.
                text = f"cannot be used: {error}"
            print(f"  {name:16} {text}")


@app.command("demo-data")
def demo_data(
    folder: Annotated[Path, typer.Argument(help="Where to write; every source makes its own folder below.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other images.")] = 0,
) -> None:
    """Draw small H&E-looking images and write them in each source's native layout."""
    write_demo_data(folder, seed)
    print(folder)


@app.command()
def prepare(
    sources: Annotated[list[str], typer.Argument(help="Sources to write, or `all` that the folder holds.")],
    raw: Annotated[Path, typer.Option(help="Folder that holds the raw data sets as their authors publish them.")],
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
    data, known = _what_to_prepare(experiment, scale, patch_px)
    chosen, strict = (known, False) if sources == ["all"] else (sources, True)
    recipe = Recipe(data=data, options=_pairs(option or []), rewrite=rewrite, unbound=tuple(deal_anew or []))
    target = connect(store)
    with shard_pool() as pool:
        prepared = prepare_sources(chosen, raw, target, recipe, pool, strict=strict)
    for source, index in prepared.indexes.items():
        images, patients = len(set(index.samples.image)), len(set(index.samples.patient))
        print(f"{source}: {images} images of {patients} patients in {len(index.shards)} shards")
    if prepared.absent:
        print(f"not found in {raw}, so left out: {', '.join(prepared.absent)}")
    if prepared.failures:
        raise typer.Exit(_complain("; ".join(prepared.failures)))
    print(target.url)


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
        cell: Annotated[str, typer.Option(help="Which one; without it, the choices are listed.")] = "",
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
    """Train a cell's stages if need be, score the network on whole images, write the record."""
    from histoseg.pipeline.complete import complete

    for key in complete([run], store, cache, process):
        record = Record.model_validate_json(store.get(key))
        for name, score in record.scores.items():
            print(f"{name} {score:.3f}")
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
    weights: Annotated[Path, typer.Argument(help="The weights.tar that Cerberus' authors published.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, as `predict` takes it.")],
) -> None:
    """Turn the published Cerberus checkpoint into a model; nothing in the file is executed."""
    from histoseg.models.cerberus.published import import_published
    from histoseg.models.weights import save_model

    model = import_published(weights)
    save_model(model, FileStore(out), "")
    heads = [f"{name} {count}" for name, count in model.spec.heads(model.network).num_classes.items()]
    print(f"{sum(value.numel() for value in model.network.parameters()):,} parameters")
    print(f"{len(heads)} heads with so many classes: {', '.join(heads)}")
    print(out)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="PNG, JPEG or TIFF files.")],
    model: Annotated[Path, typer.Option(help="The folder of a model.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; each image makes its own below.")],
    mpp: Annotated[float | None, typer.Option(help="Microns per pixel, where the files do not say.")] = None,
    window_px: Annotated[int, typer.Option(help="Side of a window; larger is faster and takes more memory.")] = 1024,
    margin_px: Annotated[int, typer.Option(help="Context on each side of what a window predicts.")] = 152,
    overwrite: Annotated[bool, typer.Option(help="Segment again what is there already.")] = False,
) -> None:
    """Find glands, lumina, nuclei and classes of tissue in whole images; what is there already is kept."""
    from histoseg.inference.predict import Options, predict_images, require_distinct
    from histoseg.models.weights import load_model

    options = Options(mpp=mpp, windows=MarginWindows(window_px=window_px, margin_px=margin_px), overwrite=overwrite)
    require_distinct(images)
    loaded = load_model(model)
    loaded.network.to(_device())
    print(f"{len(images)} images with {loaded.origin}; results go to {out}", flush=True)
    failed = []
    for path, result in predict_images(images, loaded, FileStore(out), options):
        if isinstance(result, DataError):
            failed.append(str(path))
            _complain(str(result))
        else:
            print(result, flush=True)
    if failed:
        raise typer.Exit(_complain(f"{len(failed)} of {len(images)} images failed: {', '.join(failed)}"))
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
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("histoseg").setLevel(os.environ.get("HISTOSEG_LOG", "INFO"))
    try:
        app(arguments)
    except HistosegError as error:
        sys.exit(_complain(str(error)))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted; the same command goes on where this one was"))


def _complain(text: str) -> int:
    print(f"histoseg: {text}", file=sys.stderr)
    return 1


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0]


def _say_task(module: ModuleType) -> str:
    task = module.TASK
    return f"{task.title}: {', '.join(task.classes)}; {task.mpp} µm/px; {task.licence}"


def _say_scales(module: ModuleType) -> str:
    return f"{_first_line(module)} Scales: {', '.join(module.SCALES)}."


def _words(texts: list[str] | None) -> tuple[str, ...]:
    """What was given by one option or several, each with one word or several."""
    return tuple(word for text in texts or [] for word in text.split())


def _pairs(texts: list[str]) -> dict[str, str]:
    if bad := [text for text in texts if "=" not in text]:
        raise ConfigError(f"option {bad[0]!r} is not written as name=value")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _what_to_prepare(experiment: str, scale: str, patch_px: int | None) -> tuple[Data, list[str]]:
    """How images are stored, and which sources `all` stands for."""
    if experiment and patch_px is not None:
        raise ConfigError(f"{experiment} says how large patches are; leave out --patch-px {patch_px} or --experiment")
    if scale and not experiment:
        raise ConfigError(f"--scale {scale} is the size of an experiment; name it with --experiment, or leave it out")
    if not experiment:
        return Data() if patch_px is None else Data(patch_px=patch_px), catalog.names("histoseg.sources")
    request = Request(experiment=experiment, scale=scale or "laptop")
    data = data_of(request.experiment, request.scale, request.sets)
    return data, list(load_experiment(request.experiment, request.scale).SOURCES)


def _plan(request: Request, store: Store) -> Plan:
    return make_plan(request.experiment, store, request.scale, request.seeds, request.sets)


def _find_run(request: Request, store: Store, cell: str) -> tuple[Run, str]:
    """The run of a cell with the request's last seed, and the name of the training that it begins with."""
    plan = _plan(request, store)
    choices = {run.address: run for run in plan.runs if run.seed == request.seeds - 1}
    if (run := choices.get(cell)) is None:
        names = "; ".join(f'"{each}"' for each in choices)
        what = f"has no cell {cell!r}" if cell else "has several cells"
        raise ConfigError(f"{request.experiment} {what}; choose --cell from {names}")
    return run, next(stage for stage, runs in plan.groups.items() if run in runs)


def _device() -> "torch.device":
    import torch

    from histoseg.training.process import use_precision

    use_precision("fp32")  # A training sets its own; anything else is not rounded to TF32.
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _process(request: Request, run: Run, stage: str, store: Store) -> Iterator["Process"]:
    """This process, to train in, with the request's listeners."""
    import torch

    from histoseg.training.process import Process

    require_listeners(request.listen)
    device = _device()
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # As all trainings here were tested; with more, see the crash in docs/lab-notes.md.
    context = TrainingContext(
        id=stage, experiment=request.experiment, config=to_json(run), store=store, home=CACHE.parent.absolute()
    )
    with listening(request.listen, context) as asked:
        yield Process(device=device, listeners=(LogLine(), *asked))


if __name__ == "__main__":
    main()
