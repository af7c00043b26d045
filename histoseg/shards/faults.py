"""Sources that cannot be used, while the others go on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from histoseg.errors import ConfigError, DataError, HistosegError, MissingSourceError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Why sources were left out.

    Attributes:
        strict: Whether a source that is missing is a failure.
    """

    strict: bool
    errors: dict[str, HistosegError] = field(default_factory=dict)

    @contextmanager
    def of(self, source: str) -> Iterator[None]:
        """Note a fault of a source's files or its reader instead of raising it, and log it if it is a failure.

        Where `strict`, a ConfigError is raised: then the command names a source or an option that does not exist.
        """
        try:
            yield
        except (DataError, ConfigError) as error:
            if self.strict and isinstance(error, ConfigError):
                raise
            self.errors[source] = error
            if self._is_failure(error):
                logger.warning("%s", _say(source, error))

    @property
    def omissions(self) -> tuple[str, ...]:
        """Which sources were left out and why, a sentence each."""
        return tuple(_say(source, error) for source, error in self.errors.items())

    @property
    def absent(self) -> tuple[str, ...]:
        """The sources that are missing where that is no failure."""
        return tuple(source for source, error in self.errors.items() if not self._is_failure(error))

    @property
    def failures(self) -> tuple[str, ...]:
        """Sentences about the sources that should have been prepared."""
        return tuple(_say(source, error) for source, error in self.errors.items() if self._is_failure(error))

    def _is_failure(self, error: HistosegError) -> bool:
        return self.strict or not isinstance(error, MissingSourceError)

    def explain_nothing(self, raw: Path) -> HistosegError:
        """The error where no source at all could be prepared."""
        if self.strict and len(self.errors) == 1:
            return next(iter(self.errors.values()))
        none = f"{raw} holds none of {', '.join(self.errors)}"
        remedy = (
            "`histoseg prepare NAME` says what is looked for, `histoseg declare FOLDER` makes a source of other files"
        )
        return DataError("; ".join(self.failures) or f"{none}; {remedy}")


def _say(source: str, error: HistosegError) -> str:
    how = "was not found" if isinstance(error, MissingSourceError) else "was left out"
    return f"{source} {how}: {error}"
