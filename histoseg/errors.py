"""What can go wrong, as a tree.

HistosegError                 every error meant for a person: one line, what, where, what to do
├── ConfigError               an invalid run, option or name
├── DataError                 invalid or damaged raw files, shards or index
│   ├── MissingSourceError    a folder without a source's raw files
│   └── OldRecordError        a result record of another format than this version reads
├── StorageError              a store that cannot be reached, read or written
│   └── StoreRefusedError     a store that refuses and would refuse again: no permission, no bucket
│       └── StoreSetupError   … because of a setting, which the text names: clock, certificate, region, token, proxy
├── CheckpointError           a checkpoint that is damaged or belongs to another model
├── LeaseError                another process has taken over this work, or no lease can be had
├── ClusterError              a Kubernetes or Ray cluster that refuses, or lacks what a job needs
└── TrainingError             a training that cannot go on, as after a loss that is NaN
"""


class HistosegError(Exception):
    """An error meant for a person: its text says where, what was found and what to do."""


class ConfigError(HistosegError):
    """An invalid run, option or name."""


class DataError(HistosegError):
    """Invalid or damaged raw files, shards or index."""


class MissingSourceError(DataError):
    """A folder without a source's raw files."""


class OldRecordError(DataError):
    """A result record of another format than this version reads."""


class StorageError(HistosegError):
    """A store that cannot be reached, read or written."""


class StoreRefusedError(StorageError):
    """A store that refuses and would refuse again: no permission, no such bucket, not implemented."""


class StoreSetupError(StoreRefusedError):
    """A store that cannot be used until a setting is corrected, which the text names."""


class CheckpointError(HistosegError):
    """A checkpoint that is damaged or belongs to another model."""


class LeaseError(HistosegError):
    """Another process has taken over this work, or no lease can be had."""


class ClusterError(HistosegError):
    """A Kubernetes or Ray cluster that refuses, or lacks what a job needs."""


class TrainingError(HistosegError):
    """A training that cannot go on."""
