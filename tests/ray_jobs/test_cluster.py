import contextlib
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from ray_jobs.cluster import local_ray

# Ray's own modules warn of their own old names while they are imported, and leave sockets to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OWNER = """
import sys, threading
from pathlib import Path
from ray_jobs.cluster import local_ray

with local_ray(Path(sys.argv[1]), num_cpus=1):
    import psutil

    print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
    threading.Event().wait()
"""


def status(url: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def listening() -> set[str]:
    """The addresses on which Ray's processes, all children of this one, accept connections."""
    found = set()
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            open_now = process.net_connections("inet")
            found |= {each.laddr.ip.removeprefix("::ffff:") for each in open_now if each.status == psutil.CONN_LISTEN}
    return found


@pytest.mark.slow
def test_dashboard_asks_for_the_token(cluster):
    url = f"{cluster.dashboard_url}/api/version"
    assert status(url, None) == 401
    assert status(url, cluster.token_path.read_text()) == 200
    assert stat.S_IMODE(cluster.token_path.stat().st_mode) == 0o600


@pytest.mark.slow
def test_nothing_listens_beyond_loopback(cluster):
    assert listening() == {"127.0.0.1"}


@pytest.mark.slow
def test_logs_lie_where_they_are_said_to(cluster):
    assert list(cluster.logs.glob("raylet*"))


@pytest.mark.slow
def test_a_second_ray_in_one_process_is_refused(cluster, tmp_path):
    with pytest.raises(RuntimeError, match="before anything imports ray"), local_ray(tmp_path):
        pass


@pytest.mark.slow
def test_no_process_outlives_a_killed_owner(cluster, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as owner:
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        owner.kill()
    assert len(pids) > 8
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and (alive := [pid for pid in pids if is_alive(pid, psutil)]):
        time.sleep(0.5)
    assert not alive


def is_alive(pid, psutil) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
