"""What docs/operations.md quotes as symptoms is what people will see."""

import ast
import re
from pathlib import Path

import pytest

from histoseg.kube.refusals import ApiRequest, ErrorAnswer, refusal

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"^## What to do when.*?^\|---.*?\n(.*?)\n\n", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
SETTING = re.compile(r"[A-Z_]+=\S*")  # A word of the command, such as RESULTS=1: typed, not seen
# Reasons that KubeRay (JobFailedReason of v1.7.0) and Kubernetes write into a status, which are shown as they are
REASONS = ("SubmissionFailed", "DeadlineExceeded", "PreRunningDeadlineExceeded", "AppFailed", "ValidationFailed")


def symptoms(text):
    """What the table's first column quotes."""
    rows = TABLE.search(text)[1].splitlines()
    quoted = [found for row in rows for found in CODE.findall(row.split("|")[1])]
    return [each for each in quoted if not SETTING.fullmatch(each)]


def literals(path):
    """A module's texts, with … for what is filled in."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def refusals():
    """The messages for an API server's refusals, which are put together from many parts."""
    for verb in ("create", "get", "list", "delete"):
        asked = {"verb": verb, "resource": "rayjobs", "group": "ray.io", "name": "x", "namespace": "team"}
        request = ApiRequest(**asked, context="lab", server="https://it", role="histoseg-researcher")
        said = f'User "me" cannot {verb} resource "rayjobs"'
        for status in (400, 401, 403, 404, 409, 413, 422):
            yield str(refusal(request, ErrorAnswer.read(status, "", said)))


@pytest.fixture(scope="module")
def texts():
    """All that may be printed."""
    files = [file for folder in ("histoseg", "ray_jobs") for file in (ROOT / folder).rglob("*.py")]
    return [*(text for file in files for text in literals(file)), *refusals(), *REASONS]


def is_said(symptom, texts):
    """Whether one of the texts holds it, whatever stands for … and between '…'."""
    parts = re.split(r"…|'[^']*'", symptom)
    if len("".join(parts)) < 8:
        return False
    pattern = re.compile(".*".join(map(re.escape, parts)))
    return any(pattern.search(text) for text in texts)


def test_what_operations_quotes_is_what_is_printed(texts):
    quoted = symptoms((ROOT / "docs" / "operations.md").read_text())
    assert len(quoted) > 5
    assert [each for each in quoted if not is_said(each, texts)] == []


@pytest.mark.parametrize(
    ("symptom", "expected"),
    [
        ("no context 'x'", True),
        ("has no rayjobs.ray.io/v1 (404)", True),
        ("may not create rayjobs.ray.io 'x' in namespace …", True),
        ("PreRunningDeadlineExceeded", True),
        ("you must not create rayjobs", False),
        ("does not know RayJobs", False),
        ("…", False),
    ],
)
def test_finds_what_is_said_and_nothing_else(symptom, expected, texts):
    assert is_said(symptom, texts) is expected


def test_takes_what_the_first_column_quotes():
    text = "## What to do when …\n\n| symptom | x |\n|---|---|\n| `a` and `b`, `C=1` | `c` |\n| d | |\n\n| `e` |\n"
    assert symptoms(text) == ["a", "b"]
