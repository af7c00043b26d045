"""A real service by IPv6, by TLS, with the bucket in the host name, and with temporary keys."""

import socket
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from histoseg.errors import ConfigError, StorageError, StoreRefusedError, StoreSetupError
from histoseg.store.conditional import keeps_existing
from histoseg.store.objects import BRISK, PATIENT, connect
from tests.store.servers import DOMAIN, ROLE, certificate, weed


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with weed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def reach(server, monkeypatch):
    """Connect with these variables in place of the server's own."""

    def store(patience=BRISK, **environment):
        for name, value in {**server.environment, **environment}.items():
            monkeypatch.setenv(name, value)
        return connect("s3://histoseg/p", patience)

    return store


def works(store):
    store.put("a", b"1")
    return store.get("a") == b"1" and keeps_existing(store, "b") and {"a", "b"} <= set(store.list())


def test_an_address_of_ipv6(reach):
    assert works(reach())


def test_tls_with_an_own_authority_and_checksums_if_asked_for(server, reach):
    url = f"https://[::1]:{server.tls_port}"
    assert works(reach(AWS_ENDPOINT_URL=url, AWS_CA_BUNDLE=str(server.certificate)))
    told = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_supported"}
    assert works(reach(AWS_ENDPOINT_URL=url, AWS_CA_BUNDLE=str(server.certificate), **told))


@pytest.fixture
def names(server, monkeypatch):
    """Host names below DOMAIN lead to the server; gives those that were looked up."""
    seen, look_up = [], socket.getaddrinfo

    def found(host, *rest, **more):
        if isinstance(host, str) and host.endswith(DOMAIN):
            seen.append(host)
            host = "::1"
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return seen


@pytest.mark.parametrize(("style", "host"), [("virtual", f"histoseg.{DOMAIN}"), ("path", DOMAIN), ("", DOMAIN)])
def test_the_bucket_in_the_host_name_or_the_path(style, host, server, names, reach):
    url = f"http://{DOMAIN}:{server.port}"
    assert works(reach(AWS_ENDPOINT_URL=url, AWS_S3_ADDRESSING_STYLE=style))
    assert set(names) == {host}


def test_the_style_of_the_clients_configuration_is_followed(server, names, reach, tmp_path):
    (tmp_path / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    url = f"http://{DOMAIN}:{server.port}"
    assert works(reach(AWS_ENDPOINT_URL=url, AWS_CONFIG_FILE=str(tmp_path / "config")))
    assert set(names) == {f"histoseg.{DOMAIN}"}


def test_another_style_is_refused(reach):
    with pytest.raises(ConfigError, match="AWS_S3_ADDRESSING_STYLE is 'host'; choose from auto, path, virtual"):
        reach(AWS_S3_ADDRESSING_STYLE="host").get("a")


@pytest.fixture
def temporary(server):
    """A temporary key, as its variables; SeaweedFS makes one for at least 15 minutes."""
    client = boto3.client(
        "sts",
        endpoint_url=server.environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        region_name="us-east-1",
    )
    made = client.assume_role(RoleArn=ROLE, RoleSessionName="test", DurationSeconds=900)["Credentials"]
    assert made["Expiration"] - datetime.now(UTC) < timedelta(minutes=16)
    names = {"AccessKeyId": "ACCESS_KEY_ID", "SecretAccessKey": "SECRET_ACCESS_KEY", "SessionToken": "SESSION_TOKEN"}
    return {f"AWS_{name}": made[field] for field, name in names.items()}


def test_a_temporary_key_works_with_its_token_only(reach, temporary):
    assert works(reach(**temporary))
    with pytest.raises(StoreRefusedError, match=r"needs its AWS_SESSION_TOKEN \(in pods store\.sessionTokenKey\)"):
        reach(**{**temporary, "AWS_SESSION_TOKEN": ""}).put("a", b"x")
    with pytest.raises(StoreRefusedError, match="AWS_SESSION_TOKEN, which must be of the same key"):
        reach(AWS_SESSION_TOKEN=temporary["AWS_SESSION_TOKEN"][:-4] + "AAAA").put("a", b"x")


@pytest.mark.parametrize(
    ("port", "bundle", "advice"),
    [
        ("tls_port", "", r"signed by itself.*AWS_CA_BUNDLE \(in pods store\.caConfigMap\)"),
        ("tls_port", "other.crt", r"(signed by itself|not trusted here).*AWS_CA_BUNDLE"),
        ("tls_port", "absent.crt", r"AWS_CA_BUNDLE .*does not exist"),
        ("tls_port", "none.crt", r"AWS_CA_BUNDLE .*not a file of certificates"),
        ("port", "", "does not speak TLS; write http:// in AWS_ENDPOINT_URL"),
    ],
)
def test_a_failure_of_tls_names_its_cause_at_once(port, bundle, advice, server, reach, tmp_path):
    certificate(tmp_path, "other", "IP:::1")
    (tmp_path / "none.crt").write_text("no certificate")
    url = f"https://[::1]:{getattr(server, port)}"
    more = {"AWS_CA_BUNDLE": f"{tmp_path}/{bundle}"} if bundle else {}
    with pytest.raises(StoreSetupError, match=advice):
        reach(PATIENT, AWS_ENDPOINT_URL=url, **more).put("a", b"x")


def test_a_certificate_for_another_name(server, names, reach):
    url = f"https://a.b.{DOMAIN}:{server.tls_port}"  # Its wildcard stands for one label.
    with pytest.raises(StoreSetupError, match=rf"for another name: .*a\.b\.{DOMAIN}.* AWS_ENDPOINT_URL"):
        reach(PATIENT, AWS_ENDPOINT_URL=url, AWS_CA_BUNDLE=str(server.certificate)).put("a", b"x")


def test_plain_http_to_a_port_for_tls(server, reach):
    with pytest.raises(StorageError, match="write https://"):
        reach(AWS_ENDPOINT_URL=f"http://[::1]:{server.tls_port}").put("a", b"x")
