"""An experiment against a store: which runs there are, and how one is completed."""
