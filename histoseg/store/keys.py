"""The key of every object that histoseg writes into a store. No other module builds a key from parts.

shards/<source>/<layout>/index.json         task, splits, checksums, offsets: published last
shards/<source>/<layout>/parts/<mark>.json  the part of the index that one shard adds
shards/<source>/<layout>/<source>-<split>-00000-<hash>.tar
folds/assignments.json                      which patient is in which fold
folds/fingerprints/<source>-<digest>.json   what images look like, to find the same tissue in two sources
weights/<name>.safetensors                  what trainings may start from
features/<source>/<name>.{json,safetensors} pooled features of patches, named by all that they depend on
runs/<stage>/run.json                       written before the first step of a stage
runs/<stage>/chosen.json                    the samples it trains on, where a round of annotation chose some
runs/<stage>/step-00000040.{json,safetensors}, metrics.jsonl
runs/<stage>/model/                         the finished network, as `histoseg segment` takes it
records/<experiment>/<run>.json             put only if absent, never changed
records/<experiment>/panels/<run>/...png    pictures of the first scored images
leases/<stage>/000001.json                  who trains it; the highest number may write
leases/<submission>/000001.json             a number for each attempt of a RayJob
results/<experiment>/<job>/index.html       what a job on a cluster leaves
slides/<model>/<slide>/summary.json         what a cohort's slides have, written last of it
tensorboard/<experiment>/<stage>/...        event files, if a request asks for them
doctor/<mark>                               put to try what the store can do, then deleted
"""

import re

LEASES = "leases/"
SHARDS = "shards/"
FOLD_ASSIGNMENTS = "folds/assignments.json"


def shard_folder(source: str, layout: str) -> str:
    """The folder of a source's shards in one layout."""
    return f"{SHARDS}{source}/{layout}"


def shard_key(source: str, layout: str, name: str) -> str:
    """A tar of samples."""
    return f"{shard_folder(source, layout)}/{name}"


def shard_part_key(source: str, layout: str, mark: str) -> str:
    """The part of the index that one shard adds."""
    return f"{shard_folder(source, layout)}/parts/{mark}.json"


def index_key(source: str, layout: str) -> str:
    """The index of a source's shards in one layout."""
    return f"{shard_folder(source, layout)}/index.json"


def parse_index_key(key: str) -> tuple[str, str] | None:
    """The source and the layout of an index; None if the key is not that of an index."""
    match = re.fullmatch(rf"{SHARDS}([^/]+)/([^/]+)/index\.json", key)
    return (match[1], match[2]) if match else None


def fingerprints_key(source: str, digest: str) -> str:
    """The fingerprints of a source's images; the digest stands for the raw files."""
    return f"folds/fingerprints/{source}-{digest}.json"


def weights_key(name: str) -> str:
    """Weights that trainings may start from."""
    return f"weights/{name}.safetensors"


def features_key(source: str, name: str, kind: str) -> str:
    """Pooled features of a source's patches, `safetensors`, or what they are of, `json`."""
    return f"features/{source}/{name}.{kind}"


def stage_folder(stage: str) -> str:
    """The folder of a stage: run.json, checkpoints, metrics and the finished network."""
    return f"runs/{stage}"


def model_folder(stage: str) -> str:
    """The folder of a stage's finished network, as `histoseg segment` takes it."""
    return f"{stage_folder(stage)}/model"


def chosen_key(stage: str) -> str:
    """The samples that a stage trains on, where it adds some to those of the stage before."""
    return f"{stage_folder(stage)}/chosen.json"


def records_folder(experiment: str) -> str:
    """The prefix of an experiment's records."""
    return f"records/{experiment}/"


def record_key(experiment: str, run: str) -> str:
    """The record of a run."""
    return f"{records_folder(experiment)}{run}.json"


def is_record_key(key: str) -> bool:
    """Whether a key below records/ is that of a record; pictures lie deeper."""
    return key.count("/") == 2 and key.endswith(".json")


def panels_folder(experiment: str, run: str) -> str:
    """The pictures of a run's first scored images."""
    return f"{records_folder(experiment)}panels/{run}"


def lease_folder(name: str) -> str:
    """The prefix of all objects of a lease."""
    return f"{LEASES}{name}/"


def lease_key(name: str, number: int) -> str:
    """One holder's object of a lease."""
    return f"{lease_folder(name)}{number:06d}.json"


def results_folder(experiment: str, job: str) -> str:
    """The table, page and figures of a job on a cluster."""
    return f"results/{experiment}/{job}"


def slides_folder(model: str) -> str:
    """What a model finds in slides, unless another place is named; `model` is the digest of its weights."""
    return f"slides/{model[:8]}"


def tensorboard_folder(experiment: str, stage: str) -> str:
    """TensorBoard's event files of a stage, if a request asks for them."""
    return f"tensorboard/{experiment}/{stage}"


def trial_key(mark: str) -> str:
    """An object that is put to try what a store can do."""
    return f"doctor/{mark}"
