"""Annotation files as XML and JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException
from pydantic import BaseModel, ValidationError

from histoseg.errors import DataError

Content = TypeVar("Content", bound=BaseModel)
BOM = b"\xef\xbb\xbf"


def read_xml(path: Path, repair: Callable[[bytes], bytes] = lambda text: text) -> Element:
    """The root of an XML file; `repair` corrects known faults of its text first."""
    try:
        root: Element = defusedxml.ElementTree.fromstring(repair(path.read_bytes()))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; fetch the file again") from error
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:  # The last two: an unknown encoding
        raise DataError(f"{path}: not well-formed XML ({error}); fetch the file again") from error
    return root


def read_json(path: Path, model: type[Content]) -> Content:
    """The content of a JSON file, in UTF-8 with or without a byte-order mark."""
    try:
        return model.model_validate_json(path.read_bytes().removeprefix(BOM))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; fetch the file again") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {place}: {first['msg']}; export the annotations again") from error
