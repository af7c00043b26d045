"""What can go wrong, as a tree.

HistosegError                 every error meant for a person: one line, what, where, what to do
├── ConfigError               a run, option or name that cannot be
├── DataError                 raw files, shards or an index that are not as they must be
│   ├── MissingSourceError    a folder in which a source's raw files are not to be found
│   └── OldRecordError        a result record of another format than this version reads
├── StorageError              a store that cannot be reached, read or written
│   └── StoreRefusedError     a store that says no, and would again: no right, no such bucket, not implemented
├── CheckpointError           a checkpoint that is damaged or belongs to another model
├── LeaseError                somebody else has taken over what this process works on, or no lease can be had
├── ClusterError              a Kubernetes or Ray cluster that refuses, or lacks what a job needs
└── TrainingError             a training that cannot go on (a loss that is not a number)
"""


class HistosegError(Exception):
    """An error meant for a person: its text says where, what was found and what to do."""


class ConfigError(HistosegError):
    """A run, option or name that cannot be."""


class DataError(HistosegError):
    """Raw files, shards or an index that are not as they must be."""


class MissingSourceError(DataError):
    """A folder in which a source's raw files are not to be found."""


class OldRecordError(DataError):
    """A result record of another format than this version reads."""


class StorageError(HistosegError):
    """A store that cannot be reached, read or written."""


class StoreRefusedError(StorageError):
    """A store that says no, and would again: no right, no such bucket, not implemented."""


class CheckpointError(HistosegError):
    """A checkpoint that is damaged or belongs to another model."""


class LeaseError(HistosegError):
    """Somebody else has taken over what this process works on, or no lease can be had on it."""


class ClusterError(HistosegError):
    """A Kubernetes or Ray cluster that refuses, or lacks what a job needs."""


class TrainingError(HistosegError):
    """A training that cannot go on."""
