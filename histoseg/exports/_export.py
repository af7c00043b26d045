"""A result folder's objects in another form, beside what they are made from or elsewhere."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel, ValidationError

from histoseg.errors import DataError, StorageError
from histoseg.exports._slide import SlideObjects
from histoseg.machine import versions
from histoseg.runs import catalog
from histoseg.runs.plain import digest
from histoseg.slides.objects import ObjectFile
from histoseg.slides.summary import OBJECTS, list_slides, read_summary
from histoseg.store.objects import Store

PACKAGE = "histoseg.exports"
TEXTS = (".geojson", ".csv")


@dataclass(frozen=True, kw_only=True)
class Form:
    """How objects are to be written."""

    name: str  # That of the module, such as "geojson"
    module: ModuleType
    is_packed: bool = False  # Whether a text is compressed by gzip

    @property
    def file_name(self) -> str:
        """What the file is called in the slide's folder."""
        name: str = self.module.NAME
        return f"{name}.gz" if self.is_packed else name


class _Done(BaseModel):
    """What a later export reads of an earlier one."""

    made_of: str = ""
    files: list[str] = []


def load_form(name: str, *, is_packed: bool = False) -> Form:
    """The form of that name; ConfigError if there is none."""
    module = catalog.load(PACKAGE, name)
    return Form(name=name, module=module, is_packed=is_packed and module.NAME.endswith(TEXTS))


def choose_slides(store: Store, wanted: Sequence[str]) -> list[str]:
    """The slides of a result folder that were asked for, all of them without any.

    Raises:
        DataError: If there is none, or not one that was asked for.
    """
    found = list_slides(store)
    absent = sorted({*wanted} - {*found})
    if absent or not found:
        choices = ", ".join(found[:20]) or "no finished slide; `histoseg segment` makes them"
        raise DataError(f"{store.url} lacks {', '.join(absent) or 'results'}; it has {choices}")
    return [name for name in found if not wanted or name in wanted]


def export_slide(store: Store, name: str, form: Form, out: Store, *, overwrite: bool = False) -> str:
    """Write the objects of a slide in a form below `<name>/`; returns a line about it.

    A small record beside the files is written last: what was exported from the same results by the same version of
    histoseg is left as it is.
    """
    summary = read_summary(store, name)
    if summary is None:
        raise DataError(f"{store.url}/{name}: has no summary; finish the slide first")
    made_of = digest([summary.model_dump(mode="json"), form.file_name, versions()["histoseg"]])
    record = f"{name}/.{form.file_name}.json"
    earlier = _read_done(out, record)
    if not overwrite and earlier.made_of == made_of and all(out.size(key) is not None for key in earlier.files):
        return f"{name}: {form.file_name} is already there"
    slide = SlideObjects(objects=ObjectFile.open(store, f"{name}/{OBJECTS}"), summary=summary)
    with tempfile.TemporaryDirectory(prefix="histoseg-") as folder:
        path = Path(folder) / form.file_name
        try:
            count = form.module.write(path, slide)
        except OSError as error:
            raise StorageError(f"cannot write {form.file_name} of {name}: {error.strerror or error}") from error
        parts = {f"{name}/{part.relative_to(folder).as_posix()}": part for part in _files(path)}
        for key in [record, *sorted({*earlier.files} - {*parts})]:
            out.delete(key)
        for key, part in parts.items():
            out.put(key, part)
    out.put(record, _Done(made_of=made_of, files=sorted(parts)).model_dump_json().encode())
    return f"{name}: {count} objects in {form.file_name}"


def _files(path: Path) -> list[Path]:
    return sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]


def _read_done(out: Store, record: str) -> _Done:
    """The record of an earlier export; empty if there is none that can be read."""
    if out.size(record) is None:
        return _Done()
    try:
        return _Done.model_validate_json(out.get(record))
    except ValidationError:
        return _Done()
