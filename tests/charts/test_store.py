"""Where the store is, who has its keys, and the S3 server to try things out."""

import os
import secrets
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from histoseg.store.endpoint import STYLE
from tests.charts.rendering import COMPONENT, SCENARIOS, container, environment, head, one, pods, settings, some

STORE_PODS = ("head", "worker", "prepare", "exporter", "test")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pods_find_the_store_and_its_keys(scenario, rendered):
    told = settings(rendered(scenario))["store"]
    for where, labels, spec in pods(rendered(scenario)):
        if labels[COMPONENT] in STORE_PODS:
            found = environment(spec["containers"][0])
            assert found["AWS_REGION"] == told["region"], where
            assert found.get("AWS_ENDPOINT_URL_S3", "") == told["endpoint"], where
            assert "AWS_ENDPOINT_URL" not in found, where  # It would be the token service's as well.
            for name, key in (("AWS_ACCESS_KEY_ID", "accessKeyKey"), ("AWS_SECRET_ACCESS_KEY", "secretKeyKey")):
                if told["existingSecret"]:
                    assert found[name] == {"secretKeyRef": {"name": told["existingSecret"], "key": told[key]}}, where
                else:
                    assert name not in found, where
            token = {"name": told["existingSecret"], "key": "AWS_SESSION_TOKEN", "optional": True}
            expected = {"secretKeyRef": token} if told["existingSecret"] else None
            assert found.get("AWS_SESSION_TOKEN") == expected, where


def test_the_server_to_try_things_out_needs_no_session_token(rendered):
    (spec,) = (spec for _, labels, spec in pods(rendered("seaweedfs")) if labels[COMPONENT] == "store")
    assert "AWS_SESSION_TOKEN" not in environment(spec["containers"][0])


@pytest.mark.parametrize(("style", "expected"), [("virtual", "virtual"), ("path", "path"), ("", None)])
def test_pods_and_submitters_write_the_bucket_where_the_service_wants_it(style, expected, rendered):
    objects = rendered("external-s3", f"store.addressingStyle={style}")
    told = {
        environment(spec["containers"][0]).get(STYLE)
        for _, labels, spec in pods(objects)
        if labels[COMPONENT] in STORE_PODS
    }
    assert told == {expected}
    assert settings(objects)["store"]["addressingStyle"] == style


@pytest.mark.parametrize(
    ("endpoint", "ports"), [("http://[fd00::9]:9000", [9000]), ("https://[fd00::9]", [443]), ("http://[::1]/", [80])]
)
def test_an_address_of_ipv6(endpoint, ports, rendered):
    objects = rendered("external-s3", f"store.endpoint={endpoint}")
    assert settings(objects)["store"]["endpoint"] == endpoint
    rules = [rule for each in some(objects, "NetworkPolicy") for rule in each["spec"].get("egress", [])]
    opened = [[port["port"] for port in rule["ports"]] for rule in rules if "10.0.0.0/8" in str(rule.get("to"))]
    assert opened
    assert all(each == ports for each in opened)


def test_settings_of_an_own_s3_service(rendered):
    assert settings(rendered("external-s3"))["store"] == {
        "url": "s3://histology",
        "endpoint": "http://s3.storage.svc:9000",
        "region": "eu-central-1",
        "addressingStyle": "",
        "existingSecret": "rook-ceph-bucket",
        "accessKeyKey": "access-key",
        "secretKeyKey": "secret-key",
    }


def test_a_companys_own_authority_is_told_to_every_pod_that_reaches_the_store(rendered):
    seen = set()
    for where, labels, spec in pods(rendered("company-ca")):
        told = environment(spec["containers"][0]).get("AWS_CA_BUNDLE")
        mounts = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "store-ca"]
        volumes = [each for each in spec["volumes"] if each["name"] == "store-ca"]
        if labels[COMPONENT] in STORE_PODS:
            seen.add(labels[COMPONENT])
            assert told == "/etc/histoseg/ca.crt", where
            assert mounts == [{"name": "store-ca", "mountPath": "/etc/histoseg", "readOnly": True}], where
            source = {"name": "company-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
            assert volumes == [{"name": "store-ca", "configMap": source}], where
        else:
            assert (told, mounts, volumes) == (None, [], []), where
    assert seen == set(STORE_PODS)
    for where, _, spec in pods(rendered("minimal")):
        assert "AWS_CA_BUNDLE" not in environment(spec["containers"][0]), where
        assert "store-ca" not in str(spec), where


def test_workload_identity_is_an_annotation_of_the_accounts_that_reach_the_store(rendered):
    objects = rendered(
        "workload-identity", r"serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::1:role/x"
    )
    accounts = {
        each["metadata"]["name"]: each["metadata"].get("annotations") for each in some(objects, "ServiceAccount")
    }
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}
    assert accounts == {"histoseg-head": role, "histoseg-worker": role, "histoseg-data": role}
    for where, labels, spec in pods(objects):
        expected = {"head": "histoseg-head", "worker": "histoseg-worker", "submitter": None, "test": "histoseg-data"}
        assert spec.get("serviceAccountName") == expected[labels[COMPONENT]], where
    assert not any("annotations" in each["metadata"] for each in some(rendered("minimal"), "ServiceAccount"))
    assert all(each["automountServiceAccountToken"] is False for each in some(objects, "ServiceAccount"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_s3_server_runs_only_to_try_things_out(scenario, rendered):
    asked = scenario in ("seaweedfs", "scratch-store")
    assert len(some(rendered(scenario), "StatefulSet", "histoseg-store")) == asked
    assert len(some(rendered(scenario), "Service", "histoseg-store")) == asked


def test_the_s3_server_keeps_its_objects_or_says_that_it_does_not(rendered):
    kept, scratch = (one(rendered(each), "StatefulSet")["spec"] for each in ("seaweedfs", "scratch-store"))
    (claim,) = kept["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert "volumeClaimTemplates" not in scratch
    assert {"name": "objects", "emptyDir": {}} in scratch["template"]["spec"]["volumes"]
    assert settings(rendered("seaweedfs"))["store"]["endpoint"] == "http://histoseg-store.research.svc:8333"
    assert settings(rendered("seaweedfs"))["store"]["url"] == "s3://histoseg"


PORTS = (
    "s3.port",
    "s3.port.grpc",
    *(f"{each}.port{kind}" for each in ("master", "volume", "filer") for kind in ("", ".grpc")),
)


@pytest.fixture
def s3_server(rendered, tmp_path):
    """The container's own command and variables, run here: (process, URL, access key, secret)."""
    weed = Path(sys.executable).with_name("weed")
    found = one(rendered("scratch-store"), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    ports = free_ports(PORTS)
    _, *flags = [flag for flag in found["command"] if flag != "-s3.port=8333"]
    command = [weed, *(flag.replace("/objects", str(tmp_path)) for flag in flags)]
    command += [f"-{name}={port}" for name, port in ports.items()]
    held = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}  # by the Secret
    known = {
        name: held[value["secretKeyRef"]["key"]] if "secretKeyRef" in value else value
        for name, value in environment(found).items()
    } | {"HOME": str(tmp_path)}
    url = f"http://127.0.0.1:{ports['s3.port']}"
    script = found["lifecycle"]["postStart"]["exec"]["command"][2].replace("http://127.0.0.1:8333", url)
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, env=known, stdout=log, stderr=log) as server:
        try:
            made = subprocess.run([sys.executable, "-c", script], env=known, check=False, timeout=150)
            assert made.returncode == 0, (tmp_path / "log").read_text()[-2000:]
            yield server, url, key, secret
        finally:
            server.kill()


def free_ports(names):
    with ExitStack() as stack:  # All at once, so that none is given twice.
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


@pytest.mark.slow  # 5 to 15 s, most of which is the server's start
def test_a_pods_variables_lead_to_the_store(s3_server, rendered):
    _, url, key, secret = s3_server
    named = environment(container(head(rendered("scratch-store"))))
    held = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL_S3": url}
    known = {name: held.get(name, value) for name, value in named.items()} | {"PATH": os.environ["PATH"]}
    assert known.pop("AWS_SESSION_TOKEN")["secretKeyRef"]["optional"]  # Kubernetes leaves out what the Secret lacks.
    code = """
from histoseg.store.objects import connect
store = connect("s3://histoseg")
store.put("a", b"by boto3")
print(store.get("a").decode())
"""
    done = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True, check=False)
    assert done.stdout == "by boto3\n", done.stderr


@pytest.mark.slow  # 5 to 15 s, most of which is the server's start
def test_the_s3_server_makes_its_bucket_takes_one_key_and_shows_nothing_else(s3_server):
    server, url, key, secret = s3_server

    def objects(access, word):
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=access, aws_secret_access_key=word, region_name="us-east-1"
        )
        return client.list_objects_v2(Bucket="histoseg")["KeyCount"]

    assert objects(key, secret) == 0
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        objects(key, "guess")
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        objects("guess", secret)
    listening = [each.laddr for each in psutil.Process(server.pid).net_connections("tcp") if each.status == "LISTEN"]
    open_to_others = {each.port for each in listening if not each.ip.startswith("127.")}
    # S3 and its gRPC twin, which policies close: the master, the volume server and the filer ask nobody for a key.
    assert len(open_to_others) == 2
    assert int(url.rpartition(":")[2]) in open_to_others
