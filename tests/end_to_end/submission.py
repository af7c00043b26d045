"""`make submit` for a Ray of the tests."""

from tests.end_to_end.started import Started


class Submission(Started):
    """A submission to a Ray, which runs while the test does."""

    def __init__(self, ray, folder, *words):
        super().__init__(folder, ["--ray-address", ray.address, *words], ray.environment)
