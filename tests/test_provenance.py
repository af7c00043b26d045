"""The commit that a result names: of the code that ran, and of nothing it merely lies in."""

import os
import subprocess

import pytest

from histoseg import machine as provenance

AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.org")


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A repository, and commands in it that hear nothing of this machine's settings, nor of a hook that runs us."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)

    def run(*words):
        words = ["git", "-C", str(tmp_path), *AUTHOR, *words]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "-q")
    return run


@pytest.fixture
def checkout(git, tmp_path, monkeypatch):
    """The folder of a checkout whose code is what runs; all of it is committed."""
    for name in ("histoseg/provenance.py", "histoseg/kube/api.py", "ray_jobs/train.py", "docs/notes.md", ".gitignore"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("__pycache__/\n")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "histoseg" / "provenance.py"))
    monkeypatch.setenv("HISTOSEG_COMMIT", "of an image")
    return tmp_path


def test_code_as_committed_has_its_commit(git, checkout):
    first = git("rev-parse", "HEAD")
    assert provenance.git_commit() == first
    (checkout / "histoseg" / "kube" / "api.py").write_text("second")
    git("commit", "-qam", "second")
    assert provenance.git_commit() == git("rev-parse", "HEAD") != first


@pytest.mark.parametrize(
    "name", ["histoseg/kube/api.py", "histoseg/new.py", "histoseg/new/new.py", "ray_jobs/train.py"]
)
def test_code_that_is_new_or_differs_is_told(git, checkout, name):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("changed")
    assert provenance.git_commit() == git("rev-parse", "HEAD") + "+changes"
    git("add", name)
    assert provenance.git_commit() == git("rev-parse", "HEAD") + "+changes"


@pytest.mark.parametrize("name", ["docs/notes.md", "results/smoke.md", "histoseg/__pycache__/api.pyc"])
def test_what_is_no_code_changes_nothing(git, checkout, name):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("changed")
    assert provenance.git_commit() == git("rev-parse", "HEAD")


@pytest.fixture(params=["installed in a repository", "no repository", "no git"])
def untracked(request, checkout, monkeypatch):
    """Code of which no git knows the commit."""
    if request.param == "installed in a repository":  # As in a virtual environment in a folder of somebody's own
        place = checkout / ".venv" / "site-packages" / "histoseg"
    elif request.param == "no repository":
        place = checkout.parent / f"{checkout.name}-beside" / "histoseg"
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    else:
        place = checkout / "histoseg"
        monkeypatch.setenv("PATH", "")
    place.mkdir(parents=True, exist_ok=True)
    (place / "provenance.py").touch()
    monkeypatch.setattr(provenance, "__file__", str(place / "provenance.py"))


def test_code_outside_of_git_has_the_commit_of_its_image(untracked, monkeypatch):
    assert provenance.git_commit() == "of an image"
    monkeypatch.delenv("HISTOSEG_COMMIT")
    assert provenance.git_commit() == "unknown"
