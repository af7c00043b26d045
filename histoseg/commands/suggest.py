"""The command that suggests predecessors for a source."""

from typing import Annotated

import typer

from histoseg.commands.data import CACHE, Cache, StoreUrl
from histoseg.commands.models import device_to_train_on
from histoseg.experiments._affinity_evidence import MEASURES, ranking
from histoseg.runs.request import Request
from histoseg.store.objects import connect


def suggest(
    source: Annotated[str, typer.Argument(help="A prepared source, which nothing need have been trained on.")],
    store: StoreUrl,
    experiment: Annotated[str, typer.Option(help="Whose finished networks are asked.")] = "affinity",
    scale: Annotated[str, typer.Option(help="The scale at which they were trained.")] = "laptop",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, counted from 0.")] = 1,
    set_: Annotated[list[str] | None, typer.Option("--set", help="As the networks were trained; repeatable.")] = None,
    cache: Cache = CACHE,
) -> None:
    """Say which finished networks of predecessors to refine on a source, and how sure that is; trains nothing."""
    from histoseg.pipeline.suggest import suggest_predecessors
    from histoseg.training.process import Process

    sets = tuple(word for text in set_ or [] for word in text.split())
    request = Request(experiment=experiment, store=store, scale=scale, seeds=seeds, sets=sets)
    process = Process(device=device_to_train_on())
    found = suggest_predecessors(source, request, connect(store), cache, process)
    for name, numbers in found.measures.items():
        print(f"{MEASURES[name].title}: {MEASURES[name].meaning}")
        for before in ranking(name, numbers, source):
            print(f"  {numbers[source, before]:9.3f}  {found.titles[before]}")
    if found.unfinished:
        print(f"no finished network, so left out: {'; '.join(found.unfinished)}")
    print("\n".join(found.lines))
