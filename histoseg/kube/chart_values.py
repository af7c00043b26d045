"""The chart's values behind a field that the API server refuses in a job or in one of its pods.

podTemplate, job.spec and the like pass through the chart unread, because the API server knows their fields best. So its
refusal comes with a field of the RayJob or of a pod, and here is found in which value that field stands.
"""

import re
from collections.abc import Mapping, Sequence

from histoseg.kube.objects import Object
from histoseg.kube.refusals import RefusedError

KEY = re.compile(r"\[([^\]]+)\]|([^.\[\]]+)")  # spec.nodeSelector[a.b/c].x
# Values that become one field of a pod, for workers (with the group's name) and for other pods
FIELDS = {
    "metadata.labels": ("commonLabels", "commonLabels"),
    "spec.imagePullSecrets": ("imagePullSecrets", "imagePullSecrets"),
    "spec.nodeSelector": ("{group}.nodeSelector", "nodeSelector"),
    "spec.tolerations": ("{group}.tolerations", "tolerations"),
    "spec.priorityClassName": ("{group}.priorityClassName or priorityClass.name", "priorityClass.name"),
}
# What admission says of a field that it does not name
FIELDS_IN_WORDS = {
    r"no PriorityClass with name": "spec.priorityClassName",
    r"serviceaccount \S+ not found": "spec.serviceAccountName",
    r"RuntimeClass \S+ not found": "spec.runtimeClassName",
}
OF_ANY_FIELD = re.compile(r"violates PodSecurity|admission webhook")
# What a refusal is about; a worker group is as `group_value` names it.
JOB, HEAD, SUBMITTER = "job", "head", "submitter"


def group_value(name: str) -> str:
    """What the values of a worker group begin with."""
    return f"workerGroups[{name}]"


def with_value(error: RefusedError, about: str, job: Object, overrides: Mapping[str, Object]) -> RefusedError:
    """The refusal of a job, or of a pod of the job, with the value to correct if one is behind it."""
    values = _values_behind(error, about, job, overrides)
    if not values:
        return error
    text = f"{error.brief}; correct {values} in the chart's values, then `helm upgrade` the release"
    return RefusedError(text, error.status, error.request, error.answer)


def _values_behind(error: RefusedError, about: str, job: Object, overrides: Mapping[str, Object]) -> str:
    if error.answer is None or error.answer.lacks_right:
        return ""
    said = error.answer.message
    fields = [*error.answer.fields, *(field for words, field in FIELDS_IN_WORDS.items() if re.search(words, said))]
    if fields:
        return next(filter(None, (_value_of(field, about, job, overrides) for field in fields)), "")
    return " or ".join(_candidates(about, overrides)) if OF_ANY_FIELD.search(said) else ""


def _value_of(field: str, about: str, job: Object, overrides: Mapping[str, Object]) -> str:
    """The values in which a field stands as deep as in no other; "" if it stands in none."""
    keys: Sequence[str] = [index or name for index, name in KEY.findall(field)]
    if about == JOB:
        about, keys = _in_template(keys, job)
    depths = {name: _depth(overrides[name], keys) for name in _candidates(about, overrides)}
    deepest = max(depths.values(), default=0)
    if deepest >= (1 if about == JOB else 2):  # Every pod template has a spec
        return " or ".join(name for name, depth in depths.items() if depth == deepest)
    of_worker, of_other = FIELDS.get(".".join(keys[:2]), ("", ""))
    return of_other if about in (HEAD, SUBMITTER) else of_worker.format(group=about)


def _in_template(keys: Sequence[str], job: Object) -> tuple[str, Sequence[str]]:
    """Of a RayJob's field: what it is about, and the field in the pod template or in job.spec."""
    match list(keys):
        case ["spec", "rayClusterSpec", "headGroupSpec", "template", *rest]:
            return HEAD, rest
        case ["spec", "rayClusterSpec", "workerGroupSpecs", index, "template", *rest]:
            return group_value(job["spec"]["rayClusterSpec"]["workerGroupSpecs"][int(index)]["groupName"]), rest
        case ["spec", "submitterPodTemplate", *rest]:
            return SUBMITTER, rest
        case ["spec", *rest]:
            return JOB, rest
    return JOB, []


def _candidates(about: str, overrides: Mapping[str, Object]) -> list[str]:
    """The values that were set and are merged over a job, or over one of its pods."""
    names = ["job.spec"] if about == JOB else [f"{about}.podTemplate", "podTemplate"]
    return [name for name in names if overrides.get(name)]


def _depth(part: object, keys: Sequence[str]) -> int:
    """How many of the keys lead into a part of an object; a list of it has other indexes than the whole object's."""
    if isinstance(part, list):
        return max((_depth(item, keys[1:] if keys and keys[0].isdigit() else keys) for item in part), default=0)
    if not keys or not isinstance(part, Mapping) or keys[0] not in part:
        return 0
    return 1 + _depth(part[keys[0]], keys[1:])
