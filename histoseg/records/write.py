"""Writing a record: once."""

from histoseg.records.schema import Record
from histoseg.store.keys import record_key
from histoseg.store.objects import Store


def put_record(record: Record, store: Store) -> bool:
    """Write a record unless there is one; says whether it was written."""
    return store.put_if_absent(record_key(record.experiment, record.name), record.model_dump_json().encode())
