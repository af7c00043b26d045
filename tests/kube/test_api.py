import re
import socket
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest

from histoseg.kube.api import Cluster
from histoseg.kube.refusals import ApiRequest, ErrorAnswer, UnreachableError, refusal
from tests.kube.conftest import kubeconfig_text
from tests.kube.example import pod
from tests.kube.kubelet import Log, stamped
from tests.kube.lab import CONFIG_MAPS, PODS, RAYJOBS, status_body
from tests.kube.proxy import Fault


def rayjob(name, **metadata):
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": name, **metadata}, "spec": {}}


class TestConnect:
    def test_takes_the_namespace_of_the_context(self, kubeconfig):
        cluster = Cluster.connect("lab")
        assert (cluster.namespace, Cluster.connect("lab", "other").namespace) == ("team", "other")
        cluster.close()

    def test_without_any_namespace_it_is_default(self, kubeconfig):
        kubeconfig.write_text(kubeconfig_text("http://127.0.0.1:1", namespace=""))
        assert Cluster.connect("lab").namespace == "default"

    def test_of_several_files_all_contexts_count(self, kubeconfig, tmp_path, monkeypatch):
        other = tmp_path / "other"
        other.write_text(kubeconfig_text("http://127.0.0.1:1", context="prod", namespace="p"))
        monkeypatch.setenv("KUBECONFIG", f"{other}:{kubeconfig}:{tmp_path / 'absent'}")
        assert (Cluster.connect("prod").namespace, Cluster.connect("lab").namespace) == ("p", "team")

    def test_a_wrong_context_lists_those_there_are(self, kubeconfig, mistake):
        with pytest.raises(mistake, match=r"no context 'nope' in .*kubeconfig; there are: lab; choose one"):
            Cluster.connect("nope")

    def test_no_kubeconfig(self, tmp_path, monkeypatch, mistake):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
        with pytest.raises(mistake, match=r"no kubeconfig at .*absent; set KUBECONFIG"):
            Cluster.connect("lab")

    def test_a_malformed_kubeconfig(self, kubeconfig, mistake):
        kubeconfig.write_text("contexts: [3]")
        with pytest.raises(mistake, match=r"kubeconfig.* contexts\.0: "):
            Cluster.connect("lab")

    def test_a_context_of_an_absent_cluster(self, kubeconfig, mistake):
        kubeconfig.write_text("contexts: [{name: lab, context: {cluster: gone, user: me}}]\nclusters: []\nusers: []\n")
        with pytest.raises(mistake, match=r"context 'lab' cannot be used: .*gone"):
            Cluster.connect("lab")


class TestReading:
    def test_version(self, cluster):
        assert re.match(r"v1\.\d+\.", cluster.version())

    def test_resources_of_a_group(self, cluster):
        assert {"rayjobs", "rayjobs/status", "rayclusters"} <= cluster.resources("ray.io", "v1")
        assert {"pods", "configmaps"} <= cluster.resources("", "v1")

    def test_an_absent_group_has_none(self, cluster):
        assert cluster.resources("absent.example", "v1") == set()

    def test_rights(self, server, cluster):
        server.refuse("delete rayjobs")
        assert cluster.may("create", "ray.io", "rayjobs")
        assert not cluster.may("delete", "ray.io", "rayjobs")
        assert cluster.may("get", "", "pods", subresource="log", name="x")
        assert not cluster.may("get", "", "pods", name="x")

    def test_config_map(self, server, cluster):
        server.put(CONFIG_MAPS, "it", {"data": {"key": "text"}})
        assert (cluster.config_map("it"), cluster.config_map("other")) == ({"key": "text"}, None)

    def test_of_a_secret_only_the_keys(self, server, cluster):
        server.put("v1/secrets", "it", {"data": {"access": "c2VjcmV0"}})
        assert (cluster.secret_keys("it"), cluster.secret_keys("other")) == ({"access"}, None)

    def test_pods_by_label(self, server, cluster):
        server.put(PODS, "a", {"metadata": {"labels": {"job": "x"}}})
        server.put(PODS, "b", {"metadata": {"labels": {"job": "y"}}})
        assert [pod["metadata"]["name"] for pod in cluster.pods("job=y")] == ["b"]

    def test_events_of_one_object_by_time(self, server, cluster):
        for name, at in [("late", "2025-01-01T00:09:00Z"), ("early", "2025-01-01T00:01:00Z")]:
            server.put("v1/events", name, {"involvedObject": {"name": "x"}, "lastTimestamp": at, "message": name})
        server.put("v1/events", "foreign", {"involvedObject": {"name": "y"}})
        assert [event.message for event in cluster.events("x")] == ["early", "late"]

    def test_nodes_and_quotas(self, server, cluster):
        server.put("v1/nodes", "n", {}, namespace=None)
        server.put("v1/resourcequotas", "q", {})
        assert "n" in [node.name for node in cluster.nodes()]
        assert [quota.name for quota in cluster.quotas()] == ["q"]

    def test_without_kueue_there_are_no_workloads(self, cluster):
        assert cluster.workloads("uid-1") == []


class TestRayJobs:
    def test_created_once(self, cluster):
        assert cluster.create_rayjob(rayjob("x", labels={"a": "b"}))
        assert not cluster.create_rayjob(rayjob("x"))
        assert [found["metadata"]["name"] for found in cluster.rayjobs("a")] == ["x"]

    def test_created_with_all_its_fields_or_not_at_all(self, server, cluster, mistake):
        with pytest.raises(mistake, match=r'unknown field "spec\.new"'):
            cluster.create_rayjob({**rayjob("x"), "spec": {"new": 1}})
        assert server.rayjob("x") is None

    def test_deleted_with_all_that_belongs_to_it(self, server, cluster):
        """The API server marks what is deleted in the foreground, and a controller deletes what it owns first."""
        cluster.create_rayjob(rayjob("x"))
        assert cluster.delete_rayjob("x", server.rayjob("x")["metadata"]["uid"])
        found = cluster.rayjob("x")["metadata"]
        assert found["deletionTimestamp"]
        assert found["finalizers"] == ["foregroundDeletion"]

    def test_deleting_what_is_not_there(self, cluster):
        assert not cluster.delete_rayjob("x", "uid-1")

    def test_another_of_the_same_name_is_spared(self, server, cluster, mistake):
        cluster.create_rayjob(rayjob("x"))
        with pytest.raises(mistake, match=r"cannot delete rayjobs.ray.io 'x'.*the precondition.*\(409\).*repeat"):
            cluster.delete_rayjob("x", "uid-of-an-older-one")
        assert "deletionTimestamp" not in server.rayjob("x")["metadata"]


RBAC = 'rayjobs.ray.io is forbidden: User "me" cannot create resource "rayjobs" in API group "ray.io"'
DENIED = 'admission webhook "policy" denied the request: pods cannot be this large'  # "cannot", but not RBAC's
# The status and message of each; what the error names of it, and what it says to do
REFUSALS = {
    "401": (401, ("Unauthorized", "Unauthorized"), ["context 'lab'", "log in again"]),
    "admission": (403, ("Forbidden", DENIED), ["denied the request: pods cannot be this large", "cluster admin"]),
    "413": (413, ("RequestEntityTooLarge", "limit is 3145728"), ["limit is 3145728", "(413)", "DRY_RUN=1"]),
    "proxy": (400, ("BadRequest", "no plain HTTP here"), ["no plain HTTP here", "(400)", "cluster admin"]),
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSALS)
    def test_is_one_line_with_a_remedy(self, case, server, cluster, mistake):
        status, (reason, message), parts = REFUSALS[case]
        fault = Fault("POST", "rayjobs", status, status_body(status, reason, message, name="x"))
        server.faults.append(fault)
        with pytest.raises(mistake) as caught:
            cluster.create_rayjob(rayjob("x"))
        assert [part for part in parts if part not in str(caught.value)] == []
        assert "\n" not in str(caught.value)
        assert len(server.requests("POST", "rayjobs")) == 1  # none of these is worth a second try
        assert server.rayjob("x") is None

    def test_of_nobody_in_particular_the_credentials_are_to_blame(self, server, cluster, mistake):
        """Credentials that an API server knows nothing of may leave somebody anonymous."""
        message = RBAC.replace('"me"', '"system:anonymous"')
        server.faults.append(Fault("GET", "x", 403, status_body(403, "Forbidden", message)))
        with pytest.raises(mistake, match=r"context 'lab' \(403: .*log in again with 'kubelogin'"):
            replace(cluster, plugin="kubelogin").rayjob("x")

    def test_of_a_manifest_names_one_field(self, cluster, mistake):
        """The server names both, in any order."""
        with pytest.raises(mistake, match=r"': spec\.(suspend|backoffLimit): [^,;]* \(422\)"):
            cluster.create_rayjob({**rayjob("x"), "spec": {"suspend": "yes", "backoffLimit": "two"}})

    def test_of_a_right_for_the_whole_cluster_promises_no_role(self, server, cluster, mistake):
        server.refuse("list nodes")
        with pytest.raises(mistake, match="right list on nodes for the whole cluster"):
            cluster.nodes()

    def test_without_the_namespace(self, api_server, tmp_path, monkeypatch, mistake):
        (tmp_path / "config").write_text(api_server.kubeconfig(namespace="nowhere"))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        with (
            closing(Cluster.connect("lab")) as cluster,
            pytest.raises(mistake, match="no namespace 'nowhere' in context"),
        ):
            cluster.create_rayjob(rayjob("x"))

    def test_pages_of_text_are_cut(self, server, cluster, mistake):
        server.faults.append(Fault("GET", "x", 400, "<html>\n" + "word " * 500))
        with pytest.raises(mistake) as caught:
            cluster.rayjob("x")
        assert len(str(caught.value)) < 450

    def test_no_token_in_any_of_them(self, server, cluster, mistake):
        server.faults.append(Fault("GET", "x", 401, "Unauthorized"))
        with pytest.raises(mistake) as caught:
            cluster.rayjob("x")
        assert server.requests("GET", "x")[0].headers["Authorization"] == "Bearer very-secret-token"
        assert "very-secret" not in f"{caught.value} {cluster!r}"


class TestPatience:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 0])  # 0: the connection is cut
    def test_a_busy_server_is_asked_again(self, status, server, cluster):
        server.put(RAYJOBS, "x", {"spec": {}})
        server.faults.append(Fault("GET", "rayjobs/x", status, "busy", times=2))
        assert cluster.rayjob("x")["metadata"]["name"] == "x"
        assert len(server.requests("GET", "rayjobs/x")) == 3

    def test_as_late_as_it_asks_for(self, server, cluster):
        waited = []
        server.put(RAYJOBS, "x", {"spec": {}})
        fault = Fault("GET", "rayjobs/x", 429, "busy", {"Retry-After": "7"})
        server.faults.append(fault)
        assert replace(cluster, patience_s=60.0, sleep=waited.append).rayjob("x")
        assert waited == [7.0]

    def test_waits_get_longer(self, server, cluster):
        waited = []
        server.put(RAYJOBS, "x", {"spec": {}})
        server.faults.append(Fault("GET", "rayjobs/x", 503, "busy", times=7))
        assert replace(cluster, patience_s=60.0, sleep=waited.append).rayjob("x")
        assert waited == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]  # doubled up to LONGEST_PAUSE_S

    def test_not_for_ever(self, server, cluster, mistake):
        server.faults.append(Fault("GET", "rayjobs/x", 503, "down", times=10**6))
        with pytest.raises(
            mistake, match=r"cannot get rayjobs.ray.io 'x'.*answers 503 \(down\); check that context 'lab'"
        ):
            cluster.rayjob("x")

    def test_a_server_that_asks_for_more_is_not_waited_for(self, server, cluster, mistake):
        fault = Fault("GET", "rayjobs/x", 429, "busy", {"Retry-After": "3600"})
        server.faults.append(fault)
        with pytest.raises(mistake, match="answers 429"):
            cluster.rayjob("x")

    def test_no_answer_in_time(self, server, cluster, mistake, monkeypatch):
        monkeypatch.setattr("histoseg.kube.api.READ_S", 0.1)
        server.faults.append(Fault("GET", "rayjobs/x", 0, hang_s=2.0, times=10**6))
        begin = time.monotonic()
        with pytest.raises(mistake, match=r"does not answer \(.*Read timed out.*\); check that context 'lab'"):
            cluster.rayjob("x")
        assert time.monotonic() - begin < 1.5

    def test_no_server(self, kubeconfig, mistake):
        kubeconfig.write_text(kubeconfig_text("http://127.0.0.1:9"))
        cluster = replace(Cluster.connect("lab"), patience_s=0.05)
        with pytest.raises(
            mistake, match=r"http://127.0.0.1:9 does not answer \(.*refused.*\); check that context 'lab'"
        ):
            cluster.version()

    def test_a_webhook_that_is_down_is_no_matter_of_the_network(self, server, cluster, mistake):
        said = 'failed calling webhook "mrayjob.kb.io": no endpoints available for service "kueue-webhook-service"'
        body = status_body(500, "InternalError", f"Internal error occurred: {said}")
        server.faults.append(Fault("POST", "rayjobs", 500, body, times=10**6))
        with pytest.raises(mistake, match=r"mrayjob.*; ask your cluster administrator: the webhook"):
            cluster.create_rayjob(rayjob("x"))

    def test_nor_is_what_the_server_itself_says(self, server, cluster, mistake):
        body = status_body(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        server.faults.append(Fault("GET", "rayjobs/x", 503, body, times=10**6))
        with pytest.raises(mistake, match=r"unable to handle the request\); ask your cluster administrator"):
            cluster.rayjob("x")

    def test_a_handshake_that_breaks_off_is_an_absent_server(self, kubeconfig):
        """As at a balancer of which no server is up."""

        def hang_up(listener):
            with listener.accept()[0] as connection:
                connection.recv(1 << 16)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=hang_up, args=(listener,), daemon=True)
            thread.start()
            kubeconfig.write_text(kubeconfig_text(f"https://127.0.0.1:{listener.getsockname()[1]}"))
            cluster = replace(Cluster.connect("lab"), patience_s=0.0)
            with pytest.raises(UnreachableError, match=r"does not answer \(SSLError .*EOF.*\); check that") as caught:
                cluster.version()
            thread.join(10)
        assert "\n" not in str(caught.value)
        cluster.close()

    @pytest.mark.parametrize(
        ("said", "may_pass"),
        [  # OpenSSL 3's words
            (
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)",
                False,
            ),
            ("[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate (_ssl.c:2580)", False),
            ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:1006)", False),
            ("[SSL] PEM lib (_ssl.c:3900)", False),
            ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1006)", True),
        ],
    )
    def test_only_a_certificate_is_no_reason_to_wait(self, said, may_pass):
        request = ApiRequest(verb="get", resource="version", context="lab", server="https://it", role="r")
        answer = ErrorAnswer.read(0, "", f"SSLError\n{said}")  # as kubernetes.client.rest raises it
        assert answer.may_pass is may_pass
        assert f"https://it: no secure connection: SSLError {said}" in str(refusal(request, answer))


class TestAnswersThatAreNone:
    @pytest.mark.parametrize("hang_s", [0.02, 2.0])  # the connection breaks, or nothing comes for longer than READ_S
    def test_a_list_that_breaks_off_is_asked_for_again(self, hang_s, server, cluster, monkeypatch):
        monkeypatch.setattr("histoseg.kube.api.READ_S", 0.1)
        server.put(PODS, "a", {})
        fault = Fault("GET", "pods", 200, '{"items": []}', hang_s=hang_s, is_half=True)
        server.faults.append(fault)
        assert len(cluster.pods("")) == 1
        assert len(server.requests("GET", "pods")) == 2

    def test_one_that_always_does_is_one_line_with_a_remedy(self, server, cluster, mistake):
        fault = Fault("GET", "pods", 200, '{"items": []}', hang_s=0.02, is_half=True, times=10**6)
        server.faults.append(fault)
        with pytest.raises(mistake, match=r"cannot list pods .* does not answer \(.*\); check that context") as caught:
            cluster.pods("")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("body", ["<html>\nLog in\n</html>", '"log in"', ""], ids=["page", "text", "nothing"])
    @pytest.mark.parametrize("verb", ["get", "list", "create"])
    def test_a_login_page_is_taken_for_no_answer(self, verb, body, server, cluster, mistake):
        server.faults.extend(Fault(method, "", 200, body) for method in ("GET", "POST"))
        asks = {
            "get": lambda: cluster.rayjob("x"),
            "list": lambda: cluster.pods(""),
            "create": lambda: cluster.create_rayjob(rayjob("x")),
        }
        with pytest.raises(mistake, match=rf"cannot {verb} .*: http://\S+ did not answer as .*log in again") as caught:
            asks[verb]()
        assert "\n" not in str(caught.value)

    def test_of_another_server_the_json_is_none(self, server, cluster, mistake):
        server.faults.append(Fault("GET", "/version/", 200, '{"etcdserver": "3.5"}'))
        with pytest.raises(mistake, match=r'\({"etcdserver": "3.5"}\); log in again'):
            cluster.version()

    def test_of_a_log_that_does_not_come_the_node_is_to_blame(self, server, cluster, mistake):
        said = 'Get "https://10.0.0.7:10250/containerLogs": dial tcp 10.0.0.7:10250: i/o timeout'
        fault = Fault("GET", "log", 500, status_body(500, "InternalError", said), times=10**6)
        server.faults.append(fault)
        with pytest.raises(mistake, match=r"cannot get pods/log 'pod'.* i/o timeout\); the pod's node may be lost"):
            list(cluster.log("pod", "ray"))


def write(server, log):
    """Have a pod with a log."""
    server.put(PODS, "pod", {})
    server.logs["pod"] = log


class TestLog:
    def test_comes_line_by_line_with_times(self, server, cluster):
        write(server, Log(stamped("one", "two")))
        assert list(cluster.log("pod", "ray")) == ["2025-01-01T00:00:00.5Z one", "2025-01-01T00:00:01.5Z two"]

    def test_ends_where_the_connection_breaks_and_without_half_a_line(self, server, cluster):
        write(server, Log(stamped("one", "two"), breaks=[1]))
        assert [line[-3:] for line in cluster.log("pod", "ray")] == ["one"]

    def test_silence_ends_it(self, server, cluster):
        write(server, Log(stamped("one"), over=False))
        assert len(list(cluster.log("pod", "ray", silence_s=1.5))) == 1

    def test_of_an_absent_pod_is_empty(self, cluster):
        assert list(cluster.log("pod", "ray")) == []

    def test_of_a_pod_without_a_node_is_empty(self, server, cluster):
        server.put(PODS, "pod", {"spec": pod("ray", {})["spec"]})
        assert list(cluster.log("pod", "ray")) == []

    def test_without_the_right(self, server, cluster, mistake):
        server.refuse("get pods/log")
        with pytest.raises(mistake, match=r"may not get pods/log 'pod'.* Role histoseg-researcher"):
            list(cluster.log("pod", "ray"))
