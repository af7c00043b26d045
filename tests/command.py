"""Commands of histoseg in this process."""

import pytest

from histoseg import cli


def run(capsys, *words):
    """Exit code, output and errors of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return ended.value.code or 0, said.out, said.err


def succeed(capsys, *words):
    """What a command prints that ends well."""
    code, printed, errors = run(capsys, *words)
    assert not code, errors
    return printed
