"""What a person asks for: one value from the command line to the driver of a job and to each of its workers."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from histoseg.errors import ConfigError
from histoseg.runs.argv import Option, to_variables
from histoseg.runs.config import require

PREPARED, DEMO = "prepared", "demo"
MAX_NAME_CHARS = 47  # KubeRay's limit for a RayJob: it appends to the name, and Kubernetes ends names at 63.
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # DNS-1035, what KubeRay demands
PASSWORD = re.compile(r"(^|(?<=://))[^/\s]*@")  # user:password@ before a host


@dataclass(frozen=True, kw_only=True)
class Request:
    """An experiment as it is asked for.

    Attributes:
        data: `prepared` (what the store holds), `demo` (drawn where the job runs) or a folder of raw data sets; empty
            means demo data on this machine, and prepared data on a cluster.
        store: Where everything is kept; empty means an S3 server started for the job, or the cluster's own store.
        imagenet: A ResNet in torchvision's format, for networks that start from ImageNet's weights.
        start: A model's folder, or a file as `imagenet`, that networks of its kind start from.
        workers: Ray workers of each run. They share its work, and change no result.
        slides: For a cohort: a slide, a folder of slides, an s3:// address of either, or a list of those, *.txt.
        model: For a cohort: the folder of a model, or its address.
        into: For a cohort: where results go, a folder or an s3:// address; empty means results/ on this machine, and
            the store's slides/ if a store is named.
        sets: Assignments such as optim.steps=200.
        listen: What else hears how far a training is: names of `histoseg.listeners`, each perhaps with `=argument`.
        name: The job's name on a cluster, under which it leaves its results; empty on one machine.
        submission: An id of the RayJob that runs it, equal in all its attempts; empty if it is none.
        capacity: What a cluster's workers will have when all are there, in Ray's words: CPU=8, GPU=2; empty means what
            Ray has when the job begins.
    """

    experiment: Annotated[str, Option("EXP", "a name from `histoseg list`")]
    scale: Annotated[str, Option("SCALE", "one of the experiment's scales (default: laptop)")] = "laptop"
    data: Annotated[str, Option("DATA", f"folder of raw data sets, {DEMO} or {PREPARED}")] = ""
    store: Annotated[str, Option("STORE", "file:///… or s3://… (default: an S3 server for this job)")] = ""
    imagenet: Annotated[Path | None, Option("IMAGENET", "a ResNet in torchvision's format")] = None
    start: Annotated[Path | None, Option("START", "a model's folder that networks of its kind start from")] = None
    seeds: Annotated[int, Option("SEEDS", "how many seeds, from 0 (default: 1)")] = 1
    workers: Annotated[int, Option("WORKERS", "Ray workers of each run (default: 1)", changes_result=False)] = 1
    slides: Annotated[str, Option("SLIDES", "folder, s3://… or list.txt of slides, for EXP=slides")] = ""
    model: Annotated[str, Option("MODEL", "folder or address of a model, for EXP=slides")] = ""
    into: Annotated[str, Option("OUT", "folder or s3://… for what is found in slides")] = ""
    sets: Annotated[tuple[str, ...], Option("SET", 'assignments, e.g. "optim.steps=200"', word="set")] = ()
    listen: Annotated[
        tuple[str, ...],
        Option("LISTEN", 'listeners, e.g. "tensorboard mlflow=http://host:5000"', changes_result=False),
    ] = ()
    name: Annotated[str, Option("", "the job's name, set when it is submitted", changes_result=False)] = ""
    submission: Annotated[str, Option("", "the RayJob's id, set when it is submitted", changes_result=False)] = ""
    capacity: Annotated[
        tuple[str, ...], Option("", 'what the cluster will have, e.g. "CPU=8 GPU=2"', changes_result=False)
    ] = ()

    def __post_init__(self) -> None:
        require(bool(self.experiment), "request.experiment", self.experiment, "a name; `histoseg list` shows all")
        require(self.seeds >= 1, "request.seeds", self.seeds, "1 or more")
        require(self.workers >= 1, "request.workers", self.workers, "1 or more")
        for path, words in (("request.sets", self.sets), ("request.listen", self.listen)):
            require(not any(re.search(r"\s", word) for word in words), path, words, "words without blanks")
        if any("@" in urlsplit(word.partition("=")[2]).netloc for word in self.listen):
            raise ConfigError(
                "request.listen has a password in an address, which everyone who sees the job could read; leave it out "
                "and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD where the job runs"
            )
        is_name = bool(NAME.fullmatch(self.name)) and len(self.name) <= MAX_NAME_CHARS
        require(not self.name or is_name, "request.name", self.name, "a job's name, such as table1-1f0c9a2e")
        _ = self.resources

    @property
    def resources(self) -> dict[str, float]:
        """The capacity as numbers by resource."""
        try:
            return {name: float(amount) for name, amount in (word.split("=") for word in self.capacity)}
        except ValueError:
            raise ConfigError(f"request.capacity = {' '.join(self.capacity)!r}: write it as CPU=8 GPU=2") from None

    @property
    def command(self) -> str:
        """The shortest `make submit` that asks for the same."""
        return " ".join(["make submit", *to_variables(self)])

    def for_cluster(self, store: str) -> "Request":
        """The same for a cluster, whose pods use `store` unless the request names one.

        Demo data goes below a prefix of its own, so that it never mixes with real data.
        """
        if self.imagenet is not None or self.start is not None:
            raise ConfigError(
                "IMAGENET and START name files of this machine, which a cluster cannot read; put them into its store: "
                "ImageNet's by `histoseg put-weights FILE --imagenet --store URL`, a model by `histoseg put-weights "
                "FOLDER --store URL`, whose output is the NAME in SET=\"network.weights='NAME'\""
            )
        for variable, place in (("SLIDES", self.slides), ("MODEL", self.model), ("OUT", self.into)):
            if place and not place.startswith("s3://"):
                raise ConfigError(
                    f"{variable}={place} is on this machine, where a cluster cannot read it; copy it to the store, and "
                    f"name it there: {variable}=s3://bucket/prefix"
                )
        base = (self.store or store).rstrip("/")
        if not base:
            raise ConfigError("a cluster needs a store that every pod can reach: STORE=s3://bucket/prefix")
        data = self.data or ("" if self.slides else PREPARED)
        is_known = data in ("", PREPARED, DEMO) or data.startswith("/")
        require(is_known, "request.data", data, f"{PREPARED}, {DEMO}, or an absolute folder as the pods see it")
        require(base.startswith("s3://"), "request.store", base, "s3://bucket/prefix, which every pod can reach")
        return replace(self, data=data, store=f"{base}/{DEMO}" if data == DEMO else base)


def without_password(text: str) -> str:
    """An address, or a text with addresses, without the user:password@ that may stand before a host."""
    return PASSWORD.sub("", text)
