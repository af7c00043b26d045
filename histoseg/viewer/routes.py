"""Which address gives what.

    /                                                   the page
    /web/<file>                                         its scripts, styles and vendored library
    /api/slides                                         the list
    /api/slides/<slide>/<version>/about                 names, colours, counts, caveats
    …/picture, …/picture/<level>/<column>/<row>         the slide's size and tiles; a line of error if it has moved
    …/census                                            levels of outlines, scale of density
    …/objects/<structure>/<level>/<column>/<row>        outlines (`tiles.py`)
    …/density/<structure>/<level>/<column>/<row>        numbers of objects in cells (`densities.py`)
    …/counts?box=left,top,right,bottom                  objects in a view, by kind
    …/at?x=&y=                                          the objects at a point
    …/tissue                                            classes of tissue, row by row
    …/thumbnail

A slide is looked up in the list; no part of an address becomes part of a path.
"""

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from histoseg.errors import HistosegError
from histoseg.store.objects import Store
from histoseg.viewer import descriptions
from histoseg.viewer.answers import BYTES, JPEG, TYPES, Answer, page_files, refuse, suffix, to_json
from histoseg.viewer.census import COARSEST_LEVEL
from histoseg.viewer.cohort import Cohort, Entry
from histoseg.viewer.densities import pack_density
from histoseg.viewer.pictures import Picture, open_picture
from histoseg.viewer.recent import Recent
from histoseg.viewer.results import Results

OPEN_SLIDES = 8  # A census of five million objects is 45 MB.
LARGEST_PLACE = 1 << 20  # Of a tile's column or row


class RequestError(HistosegError):
    """An address that asks for something that cannot be."""


class Routes:
    """Answers for one result folder; safe to use from several threads."""

    def __init__(self, store: Store, slides: Path | None = None) -> None:
        self.cohort = Cohort(store)
        self._slides = slides
        self._results: Recent[tuple[str, str], Results] = Recent(OPEN_SLIDES)
        self._pictures: Recent[tuple[str, str], Picture] = Recent(OPEN_SLIDES, lambda picture: picture.slide.close())
        self._actions: dict[tuple[str, int], Callable[[Entry, Results, Sequence[str], str], Answer]] = {
            ("about", 0): self._about,
            ("picture", 0): self._picture_size,
            ("picture", 3): self._picture_tile,
            ("census", 0): self._census,
            ("objects", 4): self._objects,
            ("density", 4): self._density,
            ("counts", 0): self._counts,
            ("at", 0): self._at,
            ("tissue", 0): self._tissue,
            ("thumbnail", 0): self._thumbnail,
        }

    def close(self) -> None:
        """Release all slides that are open."""
        self._pictures.clear()

    def answer(self, target: str) -> Answer:
        """The answer to a GET; what fails is one line of JSON."""
        address = urlsplit(target)
        try:
            return self._find(address.path, address.query)
        except RequestError as error:
            return refuse(HTTPStatus.BAD_REQUEST, str(error))
        except HistosegError as error:
            return refuse(HTTPStatus.NOT_FOUND, str(error))
        except Exception as error:  # A damaged file, of which other libraries say what they like: the rest still works.
            return refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"cannot be read ({type(error).__name__}: {error})")

    def _find(self, path: str, query: str) -> Answer:
        parts = [unquote(part) for part in path.split("/")[1:]]
        if path == "/":
            return _page_file("index.html")
        if parts[0] == "web":
            return _page_file(path.removeprefix("/web/"))
        if parts == ["api", "slides"]:
            return to_json(descriptions.describe_cohort(self.cohort))
        if parts[:2] == ["api", "slides"] and len(parts) >= 5:
            action = self._actions.get((parts[4], len(parts) - 5))
            entry = self.cohort.find(parts[2])
            if entry is None:
                return refuse(HTTPStatus.NOT_FOUND, f"no slide {parts[2]!r} in {self.cohort.store.url}")
            if action is not None:
                return action(entry, self._results_of(entry), parts[5:], query)
        return refuse(HTTPStatus.NOT_FOUND, f"nothing at {path}")

    def _results_of(self, entry: Entry) -> Results:
        summary = entry.summary
        if summary is None:
            raise RequestError(entry.problem)
        make = lambda: Results(self.cohort.store, entry, summary)  # noqa: E731  # one line for what is made late
        return self._results.get((entry.folder, entry.version), make)

    def _picture_of(self, results: Results) -> Picture:
        key = (results.entry.folder, results.entry.version)
        return self._pictures.get(key, lambda: open_picture(results.summary, self._slides))

    def _about(self, entry: Entry, results: Results, _parts: Sequence[str], _query: str) -> Answer:
        return to_json(descriptions.describe_slide(entry, results))

    def _picture_size(self, _entry: Entry, results: Results, _parts: Sequence[str], _query: str) -> Answer:
        height, width = self._picture_of(results).slide.size_px
        return to_json({"width": width, "height": height})

    def _picture_tile(self, _entry: Entry, results: Results, parts: Sequence[str], _query: str) -> Answer:
        level, column, row = _places(parts)
        return Answer(body=self._picture_of(results).tile(level, column, row), content_type=JPEG, keep=True)

    def _census(self, _entry: Entry, results: Results, _parts: Sequence[str], _query: str) -> Answer:
        return to_json(descriptions.describe_census(results.census))

    def _objects(self, _entry: Entry, results: Results, parts: Sequence[str], _query: str) -> Answer:
        level, column, row = _places(parts[1:])
        body = results.outlines(_structure(results, parts[0]), level, (column, row))
        return Answer(body=body, content_type=BYTES, keep=True)

    def _density(self, _entry: Entry, results: Results, parts: Sequence[str], _query: str) -> Answer:
        level, column, row = _places(parts[1:])
        density = results.census.densities.get(_structure(results, parts[0]))
        if density is None or level < density.level:
            raise RequestError(f"{parts[0]} are outlined at level {level}, so there is no density")
        return Answer(body=pack_density(density, level, column, row), content_type=BYTES, keep=True)

    def _counts(self, _entry: Entry, results: Results, _parts: Sequence[str], query: str) -> Answer:
        left, top, right, bottom = _numbers(query, "box", 4)
        return to_json({"counts": results.census.count(left, top, right, bottom)})

    def _at(self, _entry: Entry, results: Results, _parts: Sequence[str], query: str) -> Answer:
        (x,), (y,) = _numbers(query, "x", 1), _numbers(query, "y", 1)
        return to_json({"objects": [descriptions.describe_object(one) for one in results.at(x, y)]})

    def _tissue(self, _entry: Entry, results: Results, _parts: Sequence[str], _query: str) -> Answer:
        pixels = results.tissue()
        size = pixels.shape[1].to_bytes(4, "little") + pixels.shape[0].to_bytes(4, "little")
        return Answer(body=size + pixels.tobytes(), content_type=BYTES, keep=True)

    def _thumbnail(self, _entry: Entry, results: Results, _parts: Sequence[str], _query: str) -> Answer:
        return Answer(body=results.thumbnail(), content_type=JPEG, keep=True)


def _page_file(name: str) -> Answer:
    read = page_files().get(name)
    if read is None:
        return refuse(HTTPStatus.NOT_FOUND, f"no file {name!r} of the page")
    return Answer(body=read(), content_type=TYPES[suffix(name)])


def _structure(results: Results, name: str) -> str:
    choices = list(dict.fromkeys(kind.structure for kind in results.kinds))
    if name not in choices:
        raise RequestError(f"no structure {name!r}; choose from {', '.join(choices)}")
    return name


def _places(parts: Sequence[str]) -> tuple[int, int, int]:
    """Level, column and row."""
    if not all(part.isascii() and part.isdigit() and len(part) < 8 for part in parts):
        raise RequestError(f"level, column and row must be whole numbers, not {'/'.join(parts)}")
    level, column, row = map(int, parts)
    if level > COARSEST_LEVEL or max(column, row) > LARGEST_PLACE:
        raise RequestError(f"level {level} must be up to {COARSEST_LEVEL}, column and row up to {LARGEST_PLACE}")
    return level, column, row


def _numbers(query: str, name: str, count: int) -> list[float]:
    text = parse_qs(query).get(name, [""])[0]
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise RequestError(f"{name} = {text!r} must be {count} numbers, with commas between them")
    return found
