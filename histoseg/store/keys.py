"""The key of every object that histoseg writes into a store. No other module builds a key from parts.

shards/<source>/<layout>/index.json         task, splits, checksums, offsets: published last
folds/assignments.json                      which patient is in which fold
weights/<name>.safetensors                  what trainings may start from
runs/<stage>/run.json                       written before the first step of a stage
runs/<stage>/step-00000040.{json,safetensors}, metrics.jsonl
runs/<stage>/model/                         the finished network, as `histoseg predict` takes it
records/<experiment>/<run>.json             put only if absent, never changed
records/<experiment>/panels/<run>/...png    pictures of the first scored images
leases/<stage>/000001.json                  who trains it; the highest number may write
results/<experiment>/<job>/index.html       what a job on a cluster leaves
tensorboard/<experiment>/<stage>/...        event files, if a request asks for them
"""


def stage_folder(stage: str) -> str:
    """The folder of a stage: run.json, checkpoints, metrics and the finished network."""
    return f"runs/{stage}"


def model_folder(stage: str) -> str:
    """The folder of a stage's finished network, as `histoseg predict` takes it."""
    return f"{stage_folder(stage)}/model"


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


def results_folder(experiment: str, job: str) -> str:
    """The table, page and figures of a job on a cluster."""
    return f"results/{experiment}/{job}"


def tensorboard_folder(experiment: str, stage: str) -> str:
    """TensorBoard's event files of a stage, if a request asks for them."""
    return f"tensorboard/{experiment}/{stage}"
