"""What reports of every kind of table have in common: their files, and the frame of their page.

The page is made for two readers: a pathologist, who must see at once whether the numbers are of tissue, and a
researcher, who must be able to check and repeat each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from histoseg.report import markup, provenance
from histoseg.store.objects import FileStore

Section = tuple[str, str, str]  # The name that links point to, the heading, and markup; without markup it is left out.


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a report says whatever its table is.

    Attributes:
        stem: File name of table and figures, without extension.
        command: What to run to get these results again.
        omissions: What was left out and why, one sentence each.
    """

    stem: str
    command: str
    omissions: Sequence[str] = ()


def write_files(folder: Path, stem: str, texts: Mapping[str, str], images: Mapping[str, bytes], page: str) -> Path:
    """Write `<stem>.<ending>` for each text, `<stem>-<figure>.png` and `index.html`; return the path of the page.

    Each file appears only when it is whole, and the page last.
    """
    store = FileStore(folder)
    for name, png in images.items():
        store.put(f"{stem}-{name}.png", png)
    for ending, text in texts.items():
        store.put(f"{stem}.{ending}", text.encode())
    store.put("index.html", page.encode())
    return folder / "index.html"


def to_page(
    frame: Frame, title: str, finished: str, records: Sequence[provenance.Traced], sections: Sequence[Section]
) -> str:
    """A page: how much is finished and what the data are, the given sections, and where all of it comes from."""
    parts = [
        *sections,
        ("provenance", "Where the numbers come from", provenance.describe(records)),
        ("reproduce", "How to get them again", f"<pre><code>{escape(frame.command)}</code></pre>\n"),
    ]
    shown = [(name, heading, body) for name, heading, body in parts if body]
    links = "".join(f'<li><a href="#{name}">{escape(heading)}</a></li>' for name, heading, _ in shown)
    body = "".join(markup.section(name, heading, body) for name, heading, body in shown)
    nav = f'<nav aria-label="On this page"><ul>{links}</ul></nav>\n'
    statement = _state(finished, records)
    head = f"<header>\n<h1>{escape(title)}</h1>\n{statement}{nav}</header>\n"
    return markup.document(title, f"{head}<main>\n{body}</main>")


def _state(finished: str, records: Sequence[provenance.Traced]) -> str:
    scale = ", ".join(sorted({record.header.scale for record in records}))
    size = f"{finished}, at the {scale} scale." if scale else f"{finished}."
    return markup.paragraph(size, "lead") + markup.paragraph(provenance.say_origin(records), "notice")


def show_figure(images: Mapping[str, bytes], name: str, alt: str, caption: str) -> str:
    """A figure, or nothing if it was not drawn."""
    return markup.picture(images[name], alt, caption) if name in images else ""


def list_omissions(frame: Frame, missing: Mapping[str, str]) -> str:
    """What was left out and why; `missing` gives the reason by the title of each missing result."""
    reasons: dict[str, list[str]] = {}
    for title, reason in missing.items():
        reasons.setdefault(reason, []).append(title)
    lines = [*frame.omissions, *(f"{reason}: {'; '.join(titles)}." for reason, titles in reasons.items())]
    return markup.bullets(lines) if lines else markup.paragraph("Nothing: every cell of the table is finished.")
