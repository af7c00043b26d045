"""Listeners that a request can name, one file each: `LISTEN="tensorboard mlflow=http://host:5000"`.

A module, here or of an entry point of the group `histoseg.listeners`, has

- `listen(argument, context) -> Listener`. It and its listener run in a thread of their own, so they may be slow; if
  they fail, the log has one warning, and the training goes on.
- perhaps `require(argument)`, which raises a ConfigError before anything is spent if the listener cannot work.
"""
