"""The API server checks a job before anything is created: the order of the checks, and their verdicts."""

import time

import pytest

from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.job_pods import require_accepted
from histoseg.kube.refusals import RefusedError
from tests.kube.api_server import ADMIN
from tests.kube.example import ray_job, spoilt
from tests.kube.lab import ends, status_body
from tests.kube.proxy import Fault

WORKER = "spec.rayClusterSpec.workerGroupSpecs.0.template.spec"
WEBHOOK = 'admission webhook "quota.example" denied the request:\n too many\n jobs'
RESEARCHER = "/O=pathology/CN=ann"


class TestOrder:
    def test_a_job_is_tried_before_it_is_created(self, act, server, name):
        act([ends()])
        (tried,), (created,) = (server.requests("POST", "rayjobs", dry_run=each) for each in (True, False))
        assert server.proxy.asked.index(tried.asked) < server.proxy.asked.index(created.asked)
        assert tried.data["spec"] == created.data["spec"]
        assert tried.params["fieldValidation"] == "Strict"

    def test_a_refusal_is_one_line_and_nothing_is_created(self, act, server, name):
        fault = Fault("POST", "rayjobs", 403, status_body(403, "Forbidden", WEBHOOK))
        server.faults.append(fault)
        with pytest.raises(RefusedError, match=f"'{name}'.* denied the request: too many jobs") as caught:
            act([ends()])
        assert "\n" not in str(caught.value)
        assert server.requests("POST", "rayjobs") == []

    def test_a_refused_pod_stops_the_job(self, act, server, name):
        said = status_body(403, "Forbidden", f'pods "{name}-gpu-x" is forbidden: violates PodSecurity "restricted"')
        server.refuse()
        server.faults.append(Fault("POST", "pods", 403, said))
        with pytest.raises(RefusedError, match=r"violates PodSecurity .*`helm upgrade`"):
            act([ends()])
        assert server.requests("POST", "rayjobs") == []

    def test_a_job_that_exists_is_not_tried(self, act, server):
        """The quota that it uses itself must not keep anyone from following it."""
        act([ends()])
        act()
        assert len(server.requests("POST", "rayjobs", dry_run=True)) == 1

    def test_pods_are_tried_by_group_until_the_right_lacks(self, act, server, name):
        act([ends()])
        assert [each.data["metadata"] for each in server.requests("POST", "pods", dry_run=True)] == [
            {"labels": {"app.kubernetes.io/name": "histoseg"}, "generateName": f"{name}-head-"}
        ]


@pytest.fixture(scope="module")
def real(api_server, tmp_path_factory):
    """Connects a user to a namespace of its own; gives the cluster."""
    opened = []

    def connect(subject=ADMIN):
        namespace = api_server.namespace()
        path = tmp_path_factory.mktemp("kubeconfig") / "config"
        path.write_text(api_server.kubeconfig(subject, namespace))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(path))
            opened.append(Cluster.connect("lab"))
        return opened[-1]

    yield connect
    for cluster in opened:
        cluster.close()


def complete(cluster, edits=()):
    return spoilt(ray_job(), {"metadata.namespace": cluster.namespace, **dict(edits)})


def exist(api_server, cluster):
    """Whether the namespace has a job or a pod."""
    place = f"namespaces/{cluster.namespace}"
    paths = (f"/apis/ray.io/v1/{place}/rayjobs", f"/api/v1/{place}/pods")
    return any(api_server.get(path)["items"] for path in paths)


class TestVerdicts:
    def test_a_sound_job_is_accepted_and_nothing_is_created(self, real, api_server):
        cluster = real()
        assert require_accepted(cluster, complete(cluster), {}) is True
        assert not exist(api_server, cluster)

    @pytest.mark.parametrize(
        ("edits", "parts"),
        [
            ({"spec.new": 1}, ['unknown field "spec.new"', "upgrade KubeRay"]),
            ({"spec.backoffLimit": "two"}, ["spec.backoffLimit", "DRY_RUN=1"]),
            ({f"{WORKER}.hostNetwork": True}, ["violates PodSecurity", "`helm upgrade`"]),
            (
                {f"{WORKER}.tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
                ["table1-0a1b2c3d-gpu-", "spec.tolerations[0]", "chart's value"],
            ),
            ({f"{WORKER}.serviceAccountName": "gone"}, ['serviceaccount "gone" not found', "`helm upgrade`"]),
            ({f"{WORKER}.priorityClassName": "gone"}, ["no PriorityClass with name gone", "priorityClass"]),
        ],
    )
    def test_what_a_cluster_refuses_is_one_line_with_a_remedy(self, edits, parts, real, api_server):
        cluster = real()
        with pytest.raises(ClusterError) as caught:
            require_accepted(cluster, complete(cluster, edits), {})
        said = str(caught.value)
        assert [part for part in parts if part not in said] == [], said
        assert "\n" not in said
        assert not exist(api_server, cluster)

    @pytest.mark.parametrize("hard", [{"count/rayjobs.ray.io": "0"}, {"requests.nvidia.com/gpu": "0"}])
    def test_a_quota_is_heeded(self, hard, real, api_server):
        """Without controllers a quota counts once its status says what is used."""
        cluster = real()
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "lab"}, "spec": {"hard": hard}}
        assert api_server.create(quota, namespace=cluster.namespace) == ""
        path = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas/lab/status"
        status = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
        assert api_server.send("PATCH", path, status, "application/merge-patch+json") == ""
        with pytest.raises(RefusedError, match=f"exceeded quota: lab.*{next(iter(hard))}.*larger quota"):
            require_accepted(cluster, complete(cluster), {})

    def test_without_the_right_to_create_pods_only_the_job_is_tried(self, real, api_server):
        cluster = real(RESEARCHER)
        grant(api_server, cluster)
        assert require_accepted(cluster, complete(cluster, {f"{WORKER}.hostNetwork": True}), {}) is False
        with pytest.raises(RefusedError, match=r'unknown field "spec.new"'):
            require_accepted(cluster, complete(cluster, {"spec.new": 1}), {})

    def test_without_the_right_to_create_jobs_the_role_is_named(self, real):
        cluster = real("/O=others/CN=bob")
        with pytest.raises(RefusedError, match=r"may not create rayjobs.ray.io .* Role histoseg-researcher"):
            require_accepted(cluster, complete(cluster), {})

    def test_a_job_that_exists_may_be_tried(self, real, api_server):
        cluster = real()
        job = complete(cluster)
        assert cluster.create_rayjob(job)
        assert require_accepted(cluster, job, {}) is True


def grant(api_server, cluster):
    """Let researchers create RayJobs, as the chart's Role does, and wait until the server has read it."""
    api = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    rules = [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}]
    subjects = [{"kind": "Group", "name": "pathology", "apiGroup": "rbac.authorization.k8s.io"}]
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "researcher"}
    for each in (
        {**api, "kind": "Role", "metadata": {"name": "researcher"}, "rules": rules},
        {**api, "kind": "RoleBinding", "metadata": {"name": "researcher"}, "roleRef": ref, "subjects": subjects},
    ):
        assert api_server.create(each, namespace=cluster.namespace) == ""
    deadline = time.monotonic() + 30
    while not cluster.may("create", "ray.io", "rayjobs") and time.monotonic() < deadline:
        time.sleep(0.1)
