"""Writing a record: once."""

from histoseg.records.schema import Record
from histoseg.store.conditional import require_conditional_puts
from histoseg.store.keys import record_key
from histoseg.store.objects import Store


def put_record(record: Record, store: Store) -> bool:
    """Write a record unless there is one; says whether it was written.

    Raises:
        ConfigError: If the store would replace a record that is there.
    """
    require_conditional_puts(store)
    return store.put_if_absent(record_key(record.experiment, record.name), record.model_dump_json().encode())
