"""TIAToolbox, which needs an environment of its own: what it says of a file is asked in another process."""

import json
import os
import subprocess
import textwrap

import pytest

PYTHON = os.environ.get("HISTOSEG_TIATOOLBOX_PYTHON", "")
needs_tiatoolbox = pytest.mark.skipif(
    not PYTHON, reason="set HISTOSEG_TIATOOLBOX_PYTHON to the Python of an environment with tiatoolbox 2.1"
)
# torchvision without compiled operators cannot be imported unless these are declared.
BEFORE = """
import json, torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    try:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        pass
import sqlite3
from tiatoolbox.annotation.storage import SQLiteStore
if not hasattr(sqlite3.Connection, "enable_load_extension"):  # It calls this, though it loads no extension.
    SQLiteStore.compile_options = lambda *_: [o for o, in sqlite3.connect(":memory:").execute("pragma compile_options")]
answer = {}
"""


def run_tiatoolbox(script):
    """The dictionary `answer` that a script fills in TIAToolbox' environment."""
    text = BEFORE + textwrap.dedent(script) + "\nprint(json.dumps(answer))\n"
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run([PYTHON, "-c", text], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
