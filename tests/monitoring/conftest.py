from tests.charts.conftest import helm, rendered  # noqa: F401 - fixtures, shared with the other tests of the chart
