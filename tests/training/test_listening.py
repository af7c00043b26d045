"""Listeners that a request names: what is wrong with one never ends a training, nor slows it."""

import json
import logging
import threading
import time

import pytest

from histoseg.errors import ConfigError
from histoseg.store.objects import connect
from histoseg.training import listening as module
from histoseg.training.listeners import LogLine, MetricsFile, Progress, Status
from histoseg.training.listening import TrainingContext, listening, require_listeners
from tests.lab import write_lab

# Writes what it hears below the context's home.
GOOD = """
def listen(argument, context):
    return Listener(context.home / argument)


class Listener:
    def __init__(self, path):
        self.path = path

    def say(self, text):
        with self.path.open("a") as file:
            file.write(text)

    def on_status(self, status):
        self.say(f"{status.label} {status.step};")

    def close(self):
        self.say("closed")
"""


def status(step, **changed):
    given = {"label": "pretrain x", "steps": 9, "loss": 0.5, "images_per_s": 3.0, "loader_wait": 0.25, "eta_s": 8.0}
    return Status(step=step, **{**given, **changed})


@pytest.fixture
def context(tmp_path):
    store = connect(f"file://{tmp_path}/store")
    return TrainingContext(id="0123abcd", experiment="smoke", config={}, store=store, home=tmp_path)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes listeners of a lab known under their names."""

    def install(**modules):
        write_lab(tmp_path / "lab", modules, "histoseg.listeners")
        monkeypatch.syspath_prepend(str(tmp_path / "lab"))

    return install


def test_a_listener_of_another_distribution_hears_everything(install, context):
    install(lab=GOOD)
    require_listeners(["lab=said"])
    with listening(["lab=said"], context) as listeners:
        for listener in listeners:
            listener.on_status(status(1))
            listener.on_status(status(2))
    assert (context.home / "said").read_text() == "pretrain x 1;pretrain x 2;closed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_like_that", "ModuleNotFoundError.*nothing_like_that"),
        ("", "has no listen"),
        ("def listen(argument, context):\n    raise OSError('no\\n  route')", "OSError: no route"),
        (GOOD.replace("self.say(f", "self.nothing(f"), "AttributeError"),
        (GOOD.replace('self.say("closed")', "1 / 0"), "ZeroDivisionError"),
    ],
)
def test_a_faulty_one_is_one_warning_and_others_go_on(text, message, install, context, caplog):
    install(bad=text, lab=GOOD)
    with listening(["bad=x", "lab=said"], context) as listeners:
        for step in (1, 2, 3):
            for listener in listeners:
                listener.on_status(status(step))
    (warning,) = caplog.messages
    assert warning.startswith("listener bad=x: ")
    assert "\n" not in warning
    caplog.clear()
    assert (context.home / "said").read_text().endswith("pretrain x 3;closed")


def test_its_warning_says_what_is_wrong(install, context, caplog):
    install(bad="import nothing_like_that")
    with listening(["bad"], context):
        pass
    assert "nothing_like_that" in caplog.text


SLOW = """
import time


def listen(argument, context):
    time.sleep(float(argument))
    return listen


listen.on_status = lambda status: None
listen.close = lambda: None
"""


def test_no_training_waits_for_a_slow_one(install, context, caplog, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    install(slow=SLOW)
    begin = time.monotonic()
    with listening(["slow=2"], context) as (listener,):
        listener.on_status(status(1))
    assert time.monotonic() - begin < 1.5
    assert "listener slow=2: not finished after 0.05 s" in caplog.text
    for thread in threading.enumerate():
        if thread.name.startswith("listener slow"):
            thread.join()


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(ConfigError, match="no 'tensorbord' in listeners; choose from mlflow, tensorboard"):
        require_listeners(["tensorbord=x"])


def test_one_that_cannot_be_imported_is_a_warning_before_the_training_too(install, caplog):
    install(bad="import nothing_like_that")
    require_listeners(["bad"])
    assert "listener bad: " in caplog.text


PICKY = """
from histoseg.errors import ConfigError


def listen(argument, context):
    raise AssertionError


def require(argument):
    raise ConfigError(f"no folder {argument}")
"""


def test_one_may_refuse_its_argument(install):
    install(picky=PICKY)
    with pytest.raises(ConfigError, match="no folder x"):
        require_listeners(["picky=x"])


def test_progress_tells_all_listeners_the_same(context, caplog, monkeypatch):
    """Means since the last status, by hand: loss (1 + 2) / 2, two images of two steps."""
    caplog.set_level(logging.INFO, "histoseg.training.listeners")
    metrics = MetricsFile(context.store, "run", 0)
    progress = Progress("pretrain x", 2, [LogLine(), metrics])
    progress.step(1, 1.0, 1, 0.0)
    progress.step(2, 2.0, 1, 0.0)
    metrics.put()
    (line,) = map(json.loads, context.store.get("run/metrics.jsonl").splitlines())
    assert (line["label"], line["step"], line["loss"], line["eta_s"]) == ("pretrain x", 2, 1.5, 0.0)
    assert caplog.messages[0].startswith("pretrain x  step 2/2  loss 1.5000  ")


def test_lines_after_the_checkpoint_are_dropped_at_a_restart(context):
    metrics = MetricsFile(context.store, "run", 0)
    for step in (1, 2, 3):
        metrics.on_status(status(step))
    metrics.put()
    again = MetricsFile(context.store, "run", 2)
    again.on_status(status(3, loss=0.25))
    again.put()
    lines = [json.loads(line) for line in context.store.get("run/metrics.jsonl").splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.5), (2, 0.5), (3, 0.25)]
