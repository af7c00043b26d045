"""The Dockerfile as its stages and their instructions."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "dockerfiles").glob("*Dockerfile"))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One `FROM base AS name`, with what follows it: ("RUN", "apt-get …") pairs."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, word: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == word]


def instructions(path: Path) -> list[tuple[str, str]]:
    """(word, rest) of each instruction, comments left out and continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    pairs = [line.strip().split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(pair[0].upper(), " ".join(pair[1].split())) for pair in pairs]


def stages(path: Path) -> dict[str, Stage]:
    """The stages by name; an ARG before the first of them is put in where a FROM names it."""
    defaults: dict[str, str] = {}
    found: dict[str, Stage] = {}
    body: list[tuple[str, str]] = []
    for word, rest in [*instructions(path), ("FROM", "end AS end")]:
        if word == "FROM":
            if found:
                last = found.popitem()[1]
                found[last.name] = Stage(name=last.name, base=last.base, instructions=tuple(body))
            base, _, name = rest.partition(" AS ")
            base = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], base)
            found[name or base] = Stage(name=name or base, base=base, instructions=())
            body = []
        elif not found:
            name, _, value = rest.partition("=")
            defaults[name] = value
        else:
            body.append((word, rest))
    del found["end"]
    return found


def defaults(path: Path) -> dict[str, str]:
    """The ARGs before the first FROM."""
    head = path.read_text().split("\nFROM ", 1)[0]
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", head, re.MULTILINE))
