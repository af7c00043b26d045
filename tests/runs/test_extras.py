"""Optional packages: absent, in another version, and there."""

import sys

import pytest

from histoseg.errors import ConfigError
from histoseg.runs.extras import import_extra, is_installed, why_lacking


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with one module, which imports what nobody has."""
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "__init__.py").write_text("")
    (tmp_path / "made_up" / "broken.py").write_text("import made_up_dependency")
    about = tmp_path / "made_up-4.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: made_up\nVersion: 4.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "made_up"]:
        del sys.modules[name]


def test_what_is_not_installed_is_named_with_its_extra():
    assert not is_installed("made_up")
    assert why_lacking("made_up").startswith("made_up is not installed; install histoseg[made_up]")
    with pytest.raises(ConfigError, match=r"install histoseg\[made_up\]"):
        import_extra("made_up")


def test_a_version_without_the_module_is_one_clear_line(package):
    assert why_lacking("made_up") == ""
    assert import_extra("made_up").__name__ == "made_up"
    with pytest.raises(ConfigError, match=r"^made_up 4\.0 has no made_up\.network; install histoseg\[made_up\][^\n]*$"):
        import_extra("made_up", "network")


def test_a_package_that_lacks_what_it_needs_says_so_itself(package):
    with pytest.raises(ModuleNotFoundError, match="made_up_dependency"):
        import_extra("made_up", "broken")
