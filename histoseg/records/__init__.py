"""Result records: their schema, how they are written and read."""
