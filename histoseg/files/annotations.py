"""Annotation files."""

from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from histoseg.errors import DataError


def read_xml(path: Path, repair: Callable[[bytes], bytes] = lambda text: text) -> Element:
    """The root of an XML file; `repair` corrects known faults of its text first."""
    try:
        root: Element = defusedxml.ElementTree.fromstring(repair(path.read_bytes()))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; fetch the file again") from error
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:  # The last two: an unknown encoding
        raise DataError(f"{path}: not well-formed XML ({error}); fetch the file again") from error
    return root
