"""Optional packages: absent, in another version, and there."""

import sys

import pytest

from histoseg.errors import ConfigError
from histoseg.runs.extras import import_extra, is_installed, why_lacking


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with one module, which imports what nobody has."""
    (tmp_path / "nobodys").mkdir()
    (tmp_path / "nobodys" / "__init__.py").write_text("")
    (tmp_path / "nobodys" / "broken.py").write_text("import nobodys_dependency")
    about = tmp_path / "nobodys-4.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nobodys\nVersion: 4.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "nobodys"]:
        del sys.modules[name]


def test_what_is_not_installed_is_named_with_its_extra():
    assert not is_installed("nobodys")
    assert why_lacking("nobodys").startswith("nobodys is not installed; install histoseg[nobodys]")
    with pytest.raises(ConfigError, match=r"install histoseg\[nobodys\]"):
        import_extra("nobodys")


def test_a_version_without_the_module_is_one_clear_line(package):
    assert why_lacking("nobodys") == ""
    assert import_extra("nobodys").__name__ == "nobodys"
    with pytest.raises(ConfigError, match=r"^nobodys 4\.0 has no nobodys\.network; install histoseg\[nobodys\][^\n]*$"):
        import_extra("nobodys", "network")


def test_a_package_that_lacks_what_it_needs_says_so_itself(package):
    with pytest.raises(ModuleNotFoundError, match="nobodys_dependency"):
        import_extra("nobodys", "broken")
