import re
import sys

import pytest

from histoseg.kube.api import Cluster
from tests.kube.conftest import kubeconfig_text

# A user, what else its cluster has, and what is said of them; SECRET is the token where there is one.
USERS = {
    "no base64 of the authority": (
        "{token: SECRET}",
        ', certificate-authority-data: "%%%no"',
        "certificate in it is malf",
    ),
    "no base64 of the client": (
        "{client-certificate-data: abc, client-key-data: abc}",
        "",
        r"malformed \(Incorrect pad",
    ),
    "a SOCKS proxy": ("{token: SECRET}", ', proxy-url: "socks5://127.0.0.1:9"', "proxy needs .*: pip install pysocks"),
    "an id token that is none": (
        "{auth-provider: {name: oidc, config: {id-token: abc.def.ghi, refresh-token: SECRET}}}",
        "",
        "a token or certificate in it is malformed",
    ),
    "no id token": ("{auth-provider: {name: oidc, config: {refresh-token: SECRET}}}", "", "Expected key id-token in"),
    "no plugin": (
        "{exec: {apiVersion: client.authentication.k8s.io/v1, command: /no/such/plugin, interactiveMode: Never}}",
        "",
        "'/no/such/plugin' of context 'lab' gives no credentials .*No such file.*; install it or log in",
    ),
    "an empty plugin": ("{exec: null, username: SECRET}", "", ""),
}


@pytest.mark.filterwarnings("ignore:SOCKS support")
@pytest.mark.parametrize("case", USERS)
def test_one_that_cannot_be_used_is_one_line(case, kubeconfig, mistake, monkeypatch, caplog):
    user, more, expected = USERS[case]
    text = kubeconfig_text("https://127.0.0.1:1").replace("{token: very-secret-token}", user)
    kubeconfig.write_text(text.replace('"https://127.0.0.1:1"', f'"https://127.0.0.1:1"{more}'))
    monkeypatch.setitem(sys.modules, "socks", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    said = ""
    try:
        Cluster.connect("lab").close()
    except mistake as error:
        said = str(error)
    assert re.search(expected, said)
    assert "\n" not in said
    assert "SECRET" not in said + caplog.text


def test_a_kubeconfig_of_other_letters(kubeconfig, mistake):
    kubeconfig.write_bytes(b"contexts: [{name: l\xe4b}]")
    with pytest.raises(mistake, match=r"kubeconfig: .*invalid continuation byte"):
        Cluster.connect("lab")


def test_a_kubeconfig_with_a_mistake_beside_its_token(kubeconfig, mistake):
    kubeconfig.write_text('users: [{name: me, user: {token: "very-secret-token}}]')
    with pytest.raises(mistake, match="not a valid kubeconfig: ") as caught:
        Cluster.connect("lab")
    assert "very-secret" not in str(caught.value)


def test_the_end_of_a_token_files_line_is_no_part_of_it(server, kubeconfig):
    (kubeconfig.parent / "token").write_text("very-secret-token\n")
    kubeconfig.write_text(kubeconfig.read_text().replace("token: very-secret-token", "tokenFile: token"))
    cluster = Cluster.connect("lab")
    cluster.version()
    cluster.version()  # before each request, the client sets it anew
    cluster.close()
    sent = [request.headers["Authorization"] for request in server.requests("GET", "/version/")]
    assert sent == ["Bearer very-secret-token"] * 2


def test_a_token_that_cannot_be_sent_is_not_shown(kubeconfig, mistake):
    kubeconfig.write_text(kubeconfig.read_text().replace("very-secret-token", r'"very-\nsecret"'))
    cluster = Cluster.connect("lab")
    with pytest.raises(mistake, match=r"cannot be written .*token of context 'lab'") as error:
        cluster.version()
    assert "secret" not in str(error.value)
    assert error.value.__suppress_context__
    cluster.close()
