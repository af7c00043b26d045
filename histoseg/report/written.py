"""What is left when a report is written."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Written:
    """A finished report: its table as text and the path of its page."""

    table: str
    page: Path
