"""`source.toml`: what a folder of images and labels is, so that it is a source without a line of code.

name = "our_glands"
title = "Our glands"
licence = "ours"
kind = "instance"                       # semantic, instance or patch
classes = ["background", "gland"]
mpp = 0.5
structure = "gland"                     # what Cerberus learns from it; may be left out
images = "images/{name}.png"
labels = "masks/{name}_mask.png"
patient = "/(case[0-9]+)_"              # its group is the patient; without it, each image is one of its own
instances = "components"                # each piece of a class is an object; without it, labels number objects

[values]                                # what labels hold, and the class that it means
0 = "background"
255 = "gland"
"""

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from histoseg.errors import ConfigError, DataError
from histoseg.files.instances import Instances
from histoseg.types import IGNORE, Task, is_credible_mpp, say_credible_mpp

FILE = "source.toml"
TRANSPARENT = "transparent"  # The key of `values` for pixels of masks in colour that have none
IMAGE_FILES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")  # What a pattern of any ending finds
LABEL_FILES = (".png", ".bmp", ".tif", ".tiff", ".npy")  # JPEG is lossy: its values are no labels.
IGNORED = "ignored"  # What a value means whose pixels neither loss nor metric may count
PLACE = re.compile(r"\{(\w+)\}|(\*)")  # {name} or * in a pattern of files
COLOUR, NUMBER = re.compile(f"#[0-9a-fA-F]{{6}}|{TRANSPARENT}"), re.compile("0*(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})")


def _require(claim: bool, rule: str) -> None:
    if not claim:
        raise ValueError(rule)


def _checked_pattern(pattern: str) -> str:
    is_inside = not pattern.startswith("/") and ".." not in pattern.split("/")
    _require(is_inside, "must be a path below the folder of this file, as images/{name}.png")
    names = [name for name, _ in PLACE.findall(pattern) if name]
    _require(len(set(names)) == len(names), "must name each {place} once")
    return unicodedata.normalize("NFC", pattern)


def _checked_expression(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    _require(groups == 1, "must have one group in parentheses, the patient, as (case[0-9]+)_")
    return text


def _checked_mpp(mpp: float) -> float:
    _require(is_credible_mpp(mpp), f"must be {say_credible_mpp()}")
    return mpp


Pattern = Annotated[str, AfterValidator(_checked_pattern)]
Text = Annotated[str, Field(min_length=1)]


class Declaration(BaseModel):
    """The content of a `source.toml`.

    Attributes:
        name, title, licence, kind, classes, mpp, structure, year: As in `histoseg.types.Task`.
        images: The images below the folder of the file: {name} stands for a part of a path, * for one to be ignored.
        labels: The label file of an image, with the parts that `images` names; empty where the folder is the class.
        patient: A regular expression, found in an image's path below the folder, without its ending and after a `/`;
            its group is the patient. Empty: each image is a patient of its own.
        instances: Whether label files number objects, or each connected piece of a class is one.
        values: The class of each value, of each colour (as "#ff0000", or "transparent"), or of each folder; empty takes
            the numbers of classes, and names of folders, as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    licence: Text
    kind: Literal["semantic", "instance", "patch"]  # Boxes have no label files that could be declared.
    classes: list[Text]
    mpp: Annotated[float, AfterValidator(_checked_mpp)]
    structure: str = ""
    year: int = 0
    images: Pattern
    labels: Pattern = ""
    patient: Annotated[str, AfterValidator(lambda text: _checked_expression(text) if text else text)] = ""
    instances: Instances = "numbered"
    values: dict[str, str] = {}

    @field_validator("images")
    @classmethod
    def _has_a_place(cls, pattern: str) -> str:
        _require("{name}" in pattern, "must contain {name}, as images/{name}.png")
        return pattern

    @model_validator(mode="after")
    def _has_fitting_labels(self) -> "Declaration":
        places = {name for name, _ in PLACE.findall(self.images)} - {""}
        strange = [text for name, star in PLACE.findall(self.labels) if (text := name or star) not in places]
        _require(not strange, f"labels is {self.labels!r}: `images` does not name {', '.join(strange)}")
        is_patch = self.kind == "patch"
        rule = "must be left out for kind 'patch', whose class is the folder" if is_patch else "must not be empty"
        _require(is_patch != bool(self.labels), f"labels is {self.labels!r}: {rule}")
        return self

    @model_validator(mode="after")
    def _has_fitting_values(self) -> "Declaration":
        choices = [*self.classes, IGNORED]
        wrong = [f"values.{key} is {name!r}" for key, name in self.values.items() if name not in choices]
        _require(not wrong, f"{', '.join(wrong[:1])}: choose from {', '.join(choices)}")
        is_of_objects = self.kind == "instance"
        _require(is_of_objects or self.instances == "numbered", "instances is for kind 'instance' alone; leave it out")
        _require(
            not (is_of_objects and self.instances == "numbered" and self.values),
            'values has no meaning where labels number objects; leave it out, or write instances = "components"',
        )
        keys = [key for key in self.values if not (COLOUR if self.has_colours else NUMBER).fullmatch(key)]
        rule = 'must be a number from 0 to 255, or all must be colours as "#ff0000" or "transparent"'
        _require(self.kind == "patch" or not keys, f"values.{', '.join(keys[:1])}: {rule}")
        same = [str(int(key)) if NUMBER.fullmatch(key) else key.lower() for key in self.values]
        twice = [key for i, key in enumerate(same) if key in same[:i]]
        _require(self.kind == "patch" or not twice, f"values.{', '.join(twice[:1])}: must be there once")
        return self

    @property
    def has_colours(self) -> bool:
        """Whether masks hold a colour for each class."""
        return any(key.startswith("#") for key in self.values)

    @property
    def task(self) -> Task:
        """What is predicted from it.

        Raises:
            ConfigError: If classes or structure are none that there can be.
        """
        fields = ("name", "title", "licence", "kind", "mpp", "structure", "year")
        return Task(**{name: getattr(self, name) for name in fields}, classes=tuple(self.classes))

    @property
    def numbers(self) -> Mapping[str, int]:
        """The class number of each value, colour or folder that `values` names."""
        number = {name: i for i, name in enumerate(self.classes)} | {IGNORED: IGNORE}
        return {key: number[name] for key, name in self.values.items()}


def read_declaration(path: Path) -> Declaration:
    """What a file declares.

    Raises:
        DataError: If it cannot be used; a line for each fault, with the field, what was found and what is expected.
    """
    try:
        declaration = Declaration.model_validate(read_toml(path))
        _ = declaration.task
    except ValidationError as error:
        faults = [_say(fault) for fault in error.errors(include_url=False)]
        raise DataError("\n".join(f"{path}: {fault}" for fault in faults)) from None
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    return declaration


def read_toml(path: Path) -> dict[str, object]:
    """The fields of a file, whatever they are."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(
            f"{path}: not readable as TOML ({error}); correct it, or remove it and let `histoseg declare` write another"
        ) from error


def _say(fault: ErrorDetails) -> str:
    """A fault as field, what was found and what is expected."""
    field = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"{field} is missing; add it, see `histoseg declare`"
    if fault["type"] == "extra_forbidden":
        return f"no field {field!r}; choose from {', '.join(Declaration.model_fields)}"
    text = fault["msg"].removeprefix("Value error, ").replace("Input should", "must").replace("String should", "must")
    return f"{field} is {fault['input']!r}: {text}" if field else text
