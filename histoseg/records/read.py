"""The record in a stored object; an object that is not one gives an error of one line."""

import re

from pydantic import BaseModel, ValidationError

from histoseg.errors import DataError, OldRecordError
from histoseg.records.schema import FORMAT, Record

FIRST_FIELD = re.compile(rb'\s*{\s*"format"\s*:\s*(\d+)')  # Of records of every format


class _Format(BaseModel):
    format: int


def read_record(body: bytes, where: str) -> Record:
    """The record that an object holds.

    Raises:
        OldRecordError: If the record has another format.
        DataError: If the object is not a record, or a field of it is missing or wrong.
    """
    refuse_old(body, where)
    try:
        _Format.model_validate_json(body)  # In the schema, the format has a default.
        return Record.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise DataError(f"{where}: {_first_fault(error)}; delete it and evaluate the cell again") from error


def refuse_old(body: bytes, where: str) -> None:
    """Look at the first field of an object, and at nothing else."""
    found = FIRST_FIELD.match(body)
    if found is not None and int(found[1]) != FORMAT:
        raise OldRecordError(f"{where}: record of format {int(found[1])}; evaluate the cell again")


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).removeprefix(".")
    if not path:
        return f"not a record: {fault['msg']}"
    if fault["type"] == "missing":
        return f"field {path} is missing"
    return f"field {path} is {fault['input']!r:.80}: {fault['msg']}"
