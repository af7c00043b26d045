"""Frozen dataclasses as command lines: each field is an option, and a variable of `make submit`.

A field says how it is typed: `scale: Annotated[str, Option("SCALE", "one of the experiment's scales")] = "laptop"`.
"""

import argparse
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

from histoseg.errors import ConfigError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Option:
    """How a field is typed."""

    variable: str  # The field's name for `make submit`; empty if people do not type it
    help: str  # What it means
    word: str = ""  # The option, without its dashes; empty means the field's name
    changes_result: bool = True  # Whether a job with another value has another result, and so another name


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of ours."""

    def error(self, message: str) -> NoReturn:
        """Raise a ConfigError with argparse's message."""
        raise ConfigError(f"{message}; `make`, or `python -m {self.prog} --help`, lists the options")


def add_options(parser: argparse._ActionsContainer, kind: type) -> None:
    """Add an option for each field of a dataclass; what is not typed is absent from the parsed namespace."""
    for name, hint, option in _options(kind):
        how: dict[str, Any] = {"action": "store_true"} if hint is bool else {"type": _READERS[hint]}
        parser.add_argument(_flag(name, option), dest=name, default=argparse.SUPPRESS, help=option.help, **how)


def from_namespace(kind: type[Value], found: argparse.Namespace) -> Value:
    """The dataclass with those of its fields that were typed."""
    members = fields(kind)  # type: ignore[arg-type]  # any dataclass
    typed = {member.name: getattr(found, member.name) for member in members if hasattr(found, member.name)}
    for member in members:
        if member.default is MISSING and member.name not in typed:
            raise ConfigError(f"--{member.name} is required")
    made: Value = kind(**typed)
    return made


def from_words(kind: type[Value], words: Sequence[str], prog: str) -> Value:
    """The dataclass that `to_words` wrote."""
    parser = Parser(prog=prog, allow_abbrev=False)
    add_options(parser, kind)
    return from_namespace(kind, parser.parse_args(words))


def to_words(value: object) -> list[str]:
    """The options that give the same value; fields with their default are left out."""
    return [
        _flag(name, option) if content is True else f"{_flag(name, option)}={_text(content)}"
        for name, content, option in changed(value)
    ]


def to_variables(value: object) -> list[str]:
    """The same as variables of `make submit`, quoted for a shell."""
    return [
        f"{option.variable}={shlex.quote('1' if content is True else _text(content))}"
        for _, content, option in changed(value)
        if option.variable
    ]


def changed(value: Any) -> Iterator[tuple[str, Any, Option]]:
    """Name, value and option of each field that differs from its default."""
    defaults = {member.name: member.default for member in fields(value)}
    for name, _, option in _options(type(value)):
        if (content := getattr(value, name)) != defaults[name]:
            yield name, content, option


def _options(kind: type) -> Iterator[tuple[str, Any, Option]]:
    """Name, type and option of each field that has an option."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        plain, *rest = get_args(hint) or (hint,)
        for option in rest:
            if isinstance(option, Option):
                yield name, plain, option


def _flag(name: str, option: Option) -> str:
    return f"--{option.word or name.replace('_', '-')}"


def _text(content: object) -> str:
    return " ".join(content) if isinstance(content, tuple) else str(content)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_READERS: dict[object, Callable[[str], object]] = {
    str: str,
    int: int,
    Path: Path,
    Path | None: Path,
    tuple[str, ...]: _words,
}
