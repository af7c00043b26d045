"""Many small annotated histology data sets as one sharded meta-dataset, and meta-learning on it."""

__version__ = "0.1.0"
