"""Values that cannot be are refused before anything is installed, with a line that says why."""

import json

import jsonschema
import pytest
import yaml

from tests.charts.rendering import CHART, SCENARIOS, refusal, values_of

GROUP = "workerGroups[0].name=a,workerGroups[0].replicas=2,workerGroups[0].cpus=1,workerGroups[0].memory=8Gi"


# One value that is not of its kind: the words are those of Helm's schema check, with the value's path.
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("nope=1", "additional properties 'nope' not allowed"),
        ("store.bucket=x", "at '/store': additional properties 'bucket' not allowed"),
        ("store.seaweedfs.replicas=3", "at '/store/seaweedfs': additional properties 'replicas' not allowed"),
        ("workerGroups=null", "at '': missing property 'workerGroups'"),
        ("store.seaweedfs=null", "at '/store': missing property 'seaweedfs'"),
        ("store.url=https://bucket", "at '/store/url': 'https://bucket' does not match pattern '^$|^s3://"),
        (
            "store.endpoint=s3.storage:9000",
            "at '/store/endpoint': 's3.storage:9000' does not match pattern '^$|^https?://",
        ),
        ("store.existingSecret=Not_A_Name", "at '/store/existingSecret': 'Not_A_Name' does not match"),
        ("store.seaweedfs.enabled=maybe", "at '/store/seaweedfs/enabled': got string, want boolean"),
        ("images.pullPolicy=Sometimes", "value must be one of 'IfNotPresent', 'Always', 'Never'"),
        ("images.train.digest=sha256:abc", "at '/images/train/digest': 'sha256:abc' does not match"),
        ("head.memory=8GB", "at '/head/memory': '8GB' does not match pattern '^[1-9][0-9]*(Mi|Gi|Ti)$'"),
        ("head.cpus=500m", "at '/head/cpus': got string, want integer"),
        ("head.cpus=0", "at '/head/cpus': minimum: got 0, want 1"),
        ("head.nodeSelector.a=b", "at '/head': additional properties 'nodeSelector' not allowed"),
        ("nodeSelector[0]=a", "at '/nodeSelector': got array, want object"),
        ("tolerations[0].efect=NoSchedule", "at '/tolerations/0': additional properties 'efect' not allowed"),
        ("store.caConfigMap=Company_CA", "at '/store/caConfigMap': 'Company_CA' does not match"),
        ("auth.mode=password", "at '/auth/mode': value must be one of 'token', 'disabled'"),
        ("job.preRunningDeadlineSeconds=0", "at '/job/preRunningDeadlineSeconds': minimum: got 0, want 60"),
        ("job.backoffLimit=-1", "at '/job/backoffLimit': minimum: got -1, want 0"),
        ("autoscaling.idleTimeoutSeconds=1", "at '/autoscaling/idleTimeoutSeconds': minimum: got 1, want 10"),
        ("networkPolicy.storeCidrs[0]=10.0.0.1", "at '/networkPolicy/storeCidrs/0': '10.0.0.1' does not match"),
        ("networkPolicy.storeNamespace=a.b", "at '/networkPolicy/storeNamespace': 'a.b' does not match"),
        ("networkPolicy.storePorts[0]=70000", "at '/networkPolicy/storePorts/0': maximum: got 70,000, want 65,535"),
        ("prepare.scale=Big Scale", "at '/prepare/scale': 'Big Scale' does not match"),
        ("access.researchers[0].kind=Robot", "value must be one of 'User', 'Group', 'ServiceAccount'"),
        (f"{GROUP},workerGroups[0].gpu=1", "at '/workerGroups/0': additional properties 'gpu' not allowed"),
        ("workerGroups[0].name=a", "at '/workerGroups/0': missing properties 'replicas', 'cpus', 'memory'"),
        (f"{GROUP},workerGroups[0].name=A", "at '/workerGroups/0/name': 'A' does not match"),
        (f"{GROUP},workerGroups[0].shmSize=512Mi", "at '/workerGroups/0/shmSize': '512Mi' does not match"),
        (f"{GROUP},workerGroups[0].terminationGracePeriodSeconds=5", "terminationGracePeriodSeconds': minimum: got 5"),
    ],
)
def test_a_wrong_value_is_refused(setting, words, helm):
    assert words in refusal(helm, values_of("minimal"), (setting,))


# Rules of the schema between two values.
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (f"{GROUP},workerGroups[0].spot=true", "missing property 'terminationGracePeriodSeconds'"),
        (
            f"{GROUP},workerGroups[0].spot=true,workerGroups[0].terminationGracePeriodSeconds=14",
            "at '/workerGroups/0/terminationGracePeriodSeconds': minimum: got 14, want 15",
        ),
        (
            "access.researchers[0].kind=ServiceAccount,access.researchers[0].name=ci",
            "at '/access/researchers/0': missing property 'namespace'",
        ),
    ],
)
def test_values_that_need_another_are_refused_without(setting, words, helm):
    assert words in refusal(helm, values_of("minimal"), (setting,))


# Rules that need a sentence: the reason, and what to do.
@pytest.mark.parametrize(
    ("scenario", "setting", "words"),
    [
        ("minimal", "store.url=", "store.url is empty: name the bucket"),
        ("seaweedfs", "store.url=s3://abc", "only one store"),
        ("seaweedfs", "store.endpoint=http://s3:9000", "only one store"),
        ("seaweedfs", "store.existingSecret=", "SeaweedFS takes its access key from this Secret"),
        ("seaweedfs", "store.caConfigMap=company-ca", "store.caConfigMap is set"),
        ("minimal", "store.existingSecret=", "serviceAccount.podIdentity=true"),
        ("minimal", "auth.mode=disabled", "auth.acceptUnauthenticated=true"),
        ("unauthenticated", "auth.existingSecret=token", "auth.existingSecret is set, but auth.mode is disabled"),
        ("kueue", "autoscaling.enabled=true", "Kueue admits a job with all of its pods"),
        ("kueue", "kueue.queue=", "kueue.priorityClass is set, but kueue.queue is empty"),
        ("kueue", f"{GROUP},workerGroups[0].name=head", "a group is named head and kueue.queue is set"),
        ("kueue", f"{GROUP},workerGroups[0].name=submitter", "a group is named submitter and kueue.queue is set"),
        ("minimal", "priorityClass.create=true", "priorityClass.name is empty"),
        (
            "minimal",
            "monitoring.dashboards.enabled=true",
            "monitoring.dashboards.enabled is true, but monitoring.enabled is false",
        ),
        ("minimal", "images.train.tag=latest", "images.train.tag is latest"),
        ("minimal", "images.data.tag=latest", "images.data.tag is latest"),
        ("minimal", "fullnameOverride=histology", "e.g. histology-histoseg"),
        ("minimal", r"commonLabels.ray\.io/cluster=x", "commonLabels: ray.io/cluster is a name that the chart"),
        ("gpu", "access.researchers[0].namespace=x", "pathology-research has a namespace"),
        ("minimal", f"{GROUP},{GROUP.replace('[0]', '[1]')}", "two groups are named a"),
        ("minimal", f"{GROUP},workerGroups[0].memory=2Gi", "shmSize 2Gi, which counts towards it"),
        ("minimal", f"{GROUP},workerGroups[0].gpuResource=amd.com/gpu", "has gpuResource amd.com/gpu, but no gpus"),
        ("minimal", f"{GROUP},workerGroups[0].replicas=0", "it would never have a worker"),
        ("minimal", f"{GROUP},workerGroups[0].maxReplicas=4", "autoscaling.enabled is false"),
        ("minimal", f"{GROUP},workerGroups[0].minReplicas=3", "minReplicas 3, replicas 2, maxReplicas 2"),
        (
            "minimal",
            f"autoscaling.enabled=true,{GROUP},workerGroups[0].maxReplicas=1",
            "minReplicas 2, replicas 2, maxReplicas 1",
        ),
        ("minimal", f"autoscaling.enabled=true,{GROUP},workerGroups[0].replicas=0", "maxReplicas 0"),
    ],
)
def test_values_that_contradict_are_refused_with_the_reason(scenario, setting, words, helm):
    said = refusal(helm, values_of(scenario), (setting,))
    assert words in said
    assert len([line for line in said.splitlines() if line.startswith("Error:")]) == 1


def test_no_object_of_ours_is_open():
    """Every object with named properties refuses others, except parts of objects that the API server checks."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def objects(node, path=""):
        if isinstance(node, dict):
            if "properties" in node and node.get("type") == "object":
                yield path, node
            for key, value in node.items():
                if key not in ("if", "then"):
                    yield from objects(value, f"{path}/{key}")

    found = list(objects(schema))
    assert len(found) > 20
    is_open = {
        path: node.get("additionalProperties") for path, node in found if node["additionalProperties"] is not False
    }
    parts = ("containers", "podSpec", "rayClusterSpec", "rayJobSpec")
    ours = [path for path in is_open if not path.startswith(tuple(f"/definitions/{part}" for part in parts))]
    assert ours == ["/properties/extraManifests/items"]
    assert set(is_open.values()) == {True}  # Said, not forgotten


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_schema_is_one_that_others_understand(scenario):
    """Editors check values with other programs than Helm; this is one of them."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(_merged(values, yaml.safe_load(values_of(scenario).read_text())), schema)


def _merged(defaults, chosen):
    """As Helm merges: maps by key, all else replaced."""
    if not (isinstance(defaults, dict) and isinstance(chosen, dict)):
        return chosen
    return {**defaults, **{key: _merged(defaults.get(key), value) for key, value in chosen.items()}}
