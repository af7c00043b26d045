"""Sections as a web page that needs nothing but itself."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from histoseg.report.section import Section


def render(title: str, lead: str, notice: str, sections: Sequence[Section]) -> str:
    """The page; sections without content are left out, and so is an empty notice, which stands in a box of its own."""
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    shown = [section for section in sections if not section.is_empty]
    return pages.get_template("page.html.j2").render(title=title, lead=lead, notice=notice, sections=shown)
