import pytest

from histoseg.doctor.dashboard import dashboard_checks


@pytest.mark.slow
def test_ray_itself_asks_for_its_token(cluster):
    """The statuses that doctor expects are those of a real dashboard."""
    token = cluster.token_path.read_text().strip()
    found = list(dashboard_checks(cluster.dashboard_url, token))
    assert not [f"{check.what}: {check.found}" for check in found if not check.ok]
    assert [check.what for check in found] == [
        "dashboard: answers",
        "dashboard: asks for a token",
        "dashboard: accepts our token",
    ]
    assert ": 401 without one" in found[1].found
    wrong = list(dashboard_checks(cluster.dashboard_url, "wrong"))[-1]
    assert (wrong.ok, wrong.what) == (False, "dashboard: accepts our token")
    assert ": 403 with it" in wrong.found
