"""The table of scenarios in docs/operations.md."""

import re

from tests.cluster.scenarios import SCENARIOS
from tests.cluster.site import ROOT


def test_the_table_has_all_scenarios_in_their_order():
    section = (
        (ROOT / "docs" / "operations.md").read_text().partition("\n## Before a release\n")[2].partition("\n## ")[0]
    )
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [scenario.__name__ for scenario in SCENARIOS]
