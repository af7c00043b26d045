import http.client

import pytest

from histoseg.doctor import dashboard as module
from histoseg.doctor.dashboard import dashboard_checks
from tests.doctor.conftest import TOKEN, Dashboard


def bad(url, token=TOKEN):
    found = list(dashboard_checks(url, token))
    assert not [check for check in found if TOKEN in check.found + check.advice]
    return {check.what: f"{check.found} -> {check.advice}" for check in found if not check.ok}


def test_a_dashboard_that_asks_for_its_token(dashboard):
    assert bad(dashboard) == {}
    asked = [("/api/gcs_healthz", None), ("/api/version", None), ("/api/version", f"Bearer {TOKEN}")]
    assert Dashboard.seen == asked


def test_without_a_token_at_hand_it_is_said(dashboard):
    last = list(dashboard_checks(dashboard, ""))[-1]
    assert last.ok
    assert "RAY_AUTH_TOKEN is not set" in last.found


def test_an_open_dashboard(dashboard, monkeypatch):
    monkeypatch.setattr(Dashboard, "mode", "disabled")
    found = bad(dashboard)
    assert list(found) == ["dashboard: asks for a token"]
    assert "auth.mode: token" in found["dashboard: asks for a token"]


def test_the_token_of_another_cluster(dashboard):
    found = bad(dashboard, "of-another")
    assert list(found) == ["dashboard: accepts our token"]
    assert "403 with it" in found["dashboard: accepts our token"]


@pytest.mark.parametrize("token", [f"{TOKEN}\r", f" {TOKEN}\n"])
def test_what_an_editor_leaves_at_a_tokens_end_is_no_part_of_it(token, dashboard):
    assert bad(dashboard, token) == {}


def test_a_token_that_cannot_be_sent_is_not_shown(dashboard):
    assert list(bad(dashboard, f"{TOKEN}\n{TOKEN}")) == ["dashboard: accepts our token"]


def test_a_head_that_is_ill(dashboard, monkeypatch):
    monkeypatch.setattr(module, "PAUSES_S", (0.0,))
    monkeypatch.setattr(Dashboard, "healthy", False)
    found = bad(dashboard)
    assert list(found) == ["dashboard: answers"]
    assert ": 503 " in found["dashboard: answers"]


def test_a_head_that_is_starting_is_asked_again(dashboard, monkeypatch):
    monkeypatch.setattr(Dashboard, "healthy", False)
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: setattr(Dashboard, "healthy", True))
    assert bad(dashboard) == {}
    assert [path for path, _ in Dashboard.seen].count("/api/gcs_healthz") == 2


def test_the_token_follows_no_redirect(dashboard, monkeypatch):
    monkeypatch.setattr(Dashboard, "mode", "redirect")
    assert len(bad(dashboard)) == 3
    assert len(Dashboard.seen) == 3


def test_a_head_that_refuses_connections_is_asked_again(dashboard, monkeypatch):
    """Nobody listens yet, then the first connection is dropped; the third attempt is answered."""
    answers, waited = [ConnectionRefusedError, http.client.RemoteDisconnected, module._status], []

    def status(*words):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, type):
            raise answer
        return answer(*words)

    monkeypatch.setattr(module, "_status", status)
    monkeypatch.setattr(module.time, "sleep", waited.append)
    assert bad(dashboard) == {}
    assert waited == [1.0, 2.0]  # of PAUSES_S


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:8265", "ftp://host", "http://host:port"])
def test_no_dashboard_there(url, monkeypatch):
    monkeypatch.setattr(module, "PAUSES_S", (0.0,))
    found = bad(url)
    assert list(found) == ["dashboard: answers"]
    assert "kubectl port-forward" in found["dashboard: answers"]
