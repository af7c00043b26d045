"""Names that YAML would read as a number, a truth or nothing stay texts, wherever they are written."""

import json
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from histoseg.kube.settings import Settings
from tests.charts.rendering import ray_job, render

NAMESPACE, RELEASE = "2026", "on"  # As YAML 1.1, which Kubernetes and Python read, takes them: a number, and true

# Each is a name that the schema takes. "12:30" is a number as well: 12 times 60 and 30.
NAMES = {
    "commonLabels": {"year": "2026", "yes": "no"},
    "imagePullSecrets": ["1"],
    "nodeSelector": {"pool": "true"},
    "images": {"train": {"repository": "12", "tag": "30"}, "data": {"repository": "12", "tag": "30"}},
    "store": {
        "url": "s3://abc",
        "region": "1",
        "existingSecret": "2",
        "accessKeyKey": "1",
        "secretKeyKey": "off",
        "sessionTokenKey": "on",
        "caConfigMap": "7",
    },
    "serviceAccount": {"annotations": {"role": "12"}},
    "rawData": {"existingClaim": "3"},
    "workerGroups": [
        {"name": "on", "replicas": 1, "cpus": 1, "memory": "4Gi", "priorityClassName": "4", "nodeSelector": {"a": "no"}}
    ],
    "cluster": {"enabled": True},
    "auth": {"existingSecret": "5"},
    "access": {
        "researchers": [{"kind": "ServiceAccount", "name": "6", "namespace": "7"}, {"kind": "User", "name": "8"}]
    },
    "networkPolicy": {
        "operatorNamespace": "10",
        "prometheusNamespace": "11",
        "clientNamespaces": ["12"],
        "storeNamespace": "13",
    },
    "kueue": {"queue": "14", "priorityClass": "15"},
    "priorityClass": {"name": "16", "create": True},
    "exporter": {"enabled": True},
    "monitoring": {
        "enabled": True,
        "labels": {"release": "17"},
        "dashboards": {"enabled": True, "labels": {"a": "18"}, "folder": "19"},
    },
}
OWN_STORE = {"existingSecret": "2", "region": "1", "seaweedfs": {"enabled": True, "storageClassName": "20"}}
KEYS = {
    "name", "namespace", "key", "image", "groupName", "secretName", "claimName", "storageClassName", "serviceName",
    "serviceAccountName", "priorityClassName", "existingSecret", "accessKeyKey", "secretKeyKey", "queue", "cidr",
    "kind", "region",
}  # fmt: skip
MAPS = {"labels", "matchLabels", "annotations", "nodeSelector", "selector"}
LISTS = {"resourceNames", "values", "args", "command"}


def strayed(node: Any, path: str = "") -> Iterator[str]:
    """Where something that must be a text is none."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            yield from strayed(item, f"{path}.{i}")
    elif isinstance(node, dict):
        for key, value in node.items():
            here, words = f"{path}.{key}", [key]
            if key in KEYS:
                words += [value]
            elif key == "env":
                words += [each["value"] for each in value if "value" in each]
            elif key in MAPS:
                words += [each for each in value.values() if not isinstance(each, dict)]
            elif key in LISTS:
                words += value
            yield from (f"{here}: {word!r}" for word in words if not isinstance(word, str))
            yield from strayed(value, here)


@pytest.fixture(scope="module", params=[NAMES["store"], OWN_STORE], ids=["bucket", "seaweedfs"])
def odd(request, helm, tmp_path_factory):
    """An installation all of whose names are odd ones."""
    path = tmp_path_factory.mktemp("values") / "values.yaml"
    path.write_text(json.dumps(NAMES | {"store": request.param}))  # JSON is YAML all of whose texts are quoted.
    return render(helm, path, release=RELEASE, namespace=NAMESPACE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of importlib.resources, inside kubernetes_validate
def test_every_name_is_a_text(odd):
    settings = [each for each in odd if "settings.yaml" in each.get("data", {})]
    read = yaml.load(settings[0]["data"]["settings.yaml"], Loader=yaml.CSafeLoader)
    assert list(strayed([*odd, ray_job(odd), read])) == []
    assert ray_job(odd)["metadata"]["namespace"] == NAMESPACE
    assert {each["metadata"].get("namespace", NAMESPACE) for each in odd} == {NAMESPACE}
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in odd} == {RELEASE}
    assert {each["kind"] for each in odd} >= {"CronJob", "Deployment", "RayCluster", "RoleBinding", "PriorityClass"}
    for each in odd:
        if each["apiVersion"] in ("v1", "apps/v1", "batch/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1"):
            kubernetes_validate.validate(each, "1.35", strict=True)


def test_whoever_submits_reads_them_as_texts(odd):
    (data,) = [each["data"] for each in odd if "settings.yaml" in each.get("data", {})]
    read = Settings.parse(data, "here", f"{RELEASE}-histoseg")
    assert (read.image, read.queue) == ("12:30", "14")
    assert (read.store.existing_secret, read.store.region) == ("2", "1")
    assert read.template["metadata"]["namespace"] == NAMESPACE


@pytest.mark.parametrize("name", [2026, True, None, 1.5])
def test_what_is_no_text_is_seen(name):
    assert len(list(strayed({"metadata": {"namespace": name}}))) == 1
    assert len(list(strayed({"spec": {"matchLabels": {"a": name}}}))) == 1
    assert len(list(strayed({"resourceNames": [name]}))) == 1
