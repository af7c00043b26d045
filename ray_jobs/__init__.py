"""The only package that imports Ray: it places histoseg's work on a cluster and reports on it."""
