"""The runs behind Cerberus' tables, where every source is prepared."""

from histoseg.experiments import _cerberus
from histoseg.experiments._available import assumed
from histoseg.runs import catalog

TASKS = {name: catalog.load("histoseg.sources", name).TASK for name in _cerberus.SOURCES}
ALL = {name: assumed(task) for name, task in TASKS.items()}


def module(name):
    return catalog.load("histoseg.experiments", name)


def runs(name, scale="paper", sources=ALL):
    return module(name).runs(scale, 1, sources)


def structures_of(run):
    """What the first stage of a run learns, in its order."""
    return tuple(dict.fromkeys(TASKS[name].structure for name in run.stages[0].select.sources))
