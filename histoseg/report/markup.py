"""Pieces of a web page that needs nothing but itself: it opens offline, and its policy forbids loading anything.

Arguments called `body` or `cells` are markup already; every other text is escaped here.
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --paper: #ffffff; --card: #f6f8fa; --line: #d1d9e0;
  --accent: #0b5cad; --warn: #fff4d6; --warn-line: #bf8700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4af; --paper: #0f1318; --card: #171c23;
  --line: #30363d; --accent: #6cb0f5; --warn: #332701; --warn-line: #bb8009; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 82rem; padding: 2.5rem 1.5rem 5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p, ul { max-width: 56rem; }
ul { padding-left: 1.25rem; }
a { color: var(--accent); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1.25rem 0 0; padding: 0;
  max-width: none; }
.lead { font-size: 1.1rem; color: var(--soft); }
.notice { background: var(--warn); border-left: .3rem solid var(--warn-line); border-radius: .25rem;
  padding: .8rem 1.1rem; margin: 1.25rem 0; max-width: none; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; margin: .75rem 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .6rem .8rem; color: var(--soft); }
th, td { padding: .45rem .7rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead tr:first-child th { border-top: 0; }
thead th { background: var(--card); font-weight: 600; white-space: nowrap; }
tbody th { background: var(--card); font-weight: 600; }
.matrix th, .matrix td { text-align: center; white-space: nowrap; padding: .5rem .45rem; }
.matrix thead th { white-space: normal; vertical-align: middle; }
.matrix td.none { vertical-align: middle; }
.matrix tbody th, .matrix thead tr:first-child th:first-child { text-align: left; position: sticky; left: 0;
  z-index: 1; }
.matrix tbody th { white-space: normal; min-width: 7rem; }
.matrix .reason { white-space: normal; max-width: 7rem; margin: 0 auto; }
.matrix .first { border-left: 1px solid var(--line); }
.matrix .none { color: var(--soft); background: var(--card); }
.score { font-size: 1.05rem; display: block; }
.small { font-size: .78rem; color: var(--soft); display: block; }
th.number, td.number { text-align: right; }
figure { margin: 1rem 0 1.5rem; padding: .9rem; background: #ffffff; border: 1px solid var(--line);
  border-radius: .5rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: #59636e; font-size: .875rem; margin-top: .6rem; max-width: 60rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .85em; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .9rem 1.1rem;
  overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 1rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .75rem 0; }
details td { white-space: nowrap; }
summary { cursor: pointer; color: var(--accent); }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } }
"""

# No script, no request: only what is written in the page itself.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(name: str, title: str, body: str) -> str:
    """A part of the page under its heading; `name` is what links point to."""
    return f'<section id="{escape(name)}" aria-labelledby="{escape(name)}-title">\n' + (
        f'<h2 id="{escape(name)}-title">{escape(title)}</h2>\n{body}\n</section>\n'
    )


def paragraph(text: str, kind: str = "") -> str:
    """Running text; `kind` is a class of the style sheet."""
    return f"<p{_kind(kind)}>{escape(text)}</p>\n"


def bullets(texts: Iterable[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>\n"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Terms and what they are."""
    return "<dl>" + "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in pairs) + "</dl>\n"


def folded(summary: str, body: str) -> str:
    """Something that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}</details>\n"


def picture(png: bytes, alt: str, caption: str) -> str:
    """A figure that carries its pixels along."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def cell(text: str, kind: str = "") -> str:
    """A table cell."""
    return f"<td{_kind(kind)}>{escape(text)}</td>"


def score_cell(score: str, below: Iterable[str] = (), *, is_best: bool = False, kind: str = "") -> str:
    """A result in large figures, with lines in small print below it."""
    body = f"<strong>{escape(score)}</strong>" if is_best else escape(score)
    return f'<td{_kind(kind)}><span class="score">{body}</span>{_small(below)}</td>'


def empty_cell(score: str, reason: str, below: Iterable[str] = (), *, kind: str = "") -> str:
    """A place without a result, and why."""
    small = _small([reason], "small reason") + _small(below)
    return f'<td{_kind(f"{kind} none".strip())}><span class="score">{escape(score)}</span>{small}</td>'


def _small(texts: Iterable[str], kind: str = "small") -> str:
    return "".join(f"<span{_kind(kind)}>{escape(text)}</span>" for text in texts if text)


def row_head(text: str) -> str:
    """The cell that names its row."""
    return f'<th scope="row">{escape(text)}</th>'


def table(caption: str, heads: Sequence[str], rows: Iterable[Iterable[str]], num_texts: int = 99) -> str:
    """A table of finished cells below one row of heads; from column `num_texts` on, they are heads of numbers."""
    head = "".join(
        f'<th scope="col"{_kind("number" if i >= num_texts else "")}>{escape(text)}</th>'
        for i, text in enumerate(heads)
    )
    return framed_table(caption, f"<tr>{head}</tr>", rows)


def framed_table(caption: str, head: str, rows: Iterable[Iterable[str]], kind: str = "") -> str:
    """A table that scrolls by itself where the window is narrow; `head` is the markup of its head's rows."""
    lines = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table{_kind(kind)}><caption>{escape(caption)}</caption>\n"
        f"<thead>{head}</thead>\n<tbody>\n{lines}\n</tbody></table></div>\n"
    )


def _kind(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""
