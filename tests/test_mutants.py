"""The tool behind `make mutants`: which changes it makes, and how it counts."""

import pytest

from tests.mutants.equivalent import read_equivalents
from tests.mutants.harness import Outcome
from tests.mutants.modules import MODULES
from tests.mutants.operators import MODULE_LEVEL, mutants_of
from tests.mutants.table import Result, percent_killed, table

SOURCE = '''"""A docstring."""

LIMIT = 0.5


class Box:
    def side(self, area: int, name: str = "b") -> int:
        """Another."""
        if area < 1:
            raise ValueError(f"{name} is 1 too small")
        return min(area, 3)
'''


def changes(source, **options):
    return {(mutant.function, mutant.was, mutant.becomes) for mutant in mutants_of(source, **options)}


def test_every_operator_once_by_hand():
    assert changes(SOURCE) == {
        (MODULE_LEVEL, "LIMIT = 0.5", "LIMIT = 1.5"),
        (MODULE_LEVEL, "LIMIT = 0.5", "LIMIT = 0.55"),
        ("Box.side", "if area < 1:", "if area <= 1:"),
        ("Box.side", "if area < 1:", "if area < 2:"),
        ("Box.side", "if area < 1:", "if area < 0:"),
        ("Box.side", "return min(area, 3)", "return max(area, 3)"),
        ("Box.side", "return min(area, 3)", "return min(area, 4)"),
        ("Box.side", "return min(area, 3)", "return min(area, 2)"),
        *(("Box.side", line("b"), line(name)) for name in ("XXbXX", "B")),
    }


def line(name):
    return f'def side(self, area: int, name: str = "{name}") -> int:'


def test_sentences_change_only_where_words_are_what_a_module_is_for():
    source = 'def title(n):\n    return f"Results of {n} runs", "a goal missed"\n'
    assert changes(source) == {("title", *source_lines(source, " runs", "XX runs"))}
    assert len(changes(source, words=True)) == 4  # Two parts of the f-string; XX and capitals for the other text.


def source_lines(source, old, new):
    text = source.splitlines()[1].strip()
    return text, text.replace(old, new)


def test_strict_and_the_free_axis_of_reshape_stay():
    source = "def f(x, y):\n    return zip(x.reshape(-1, 4), y, strict=True)\n"
    assert {becomes for _, _, becomes in changes(source)} == {
        "return zip(x.reshape(-1, 5), y, strict=True)",
        "return zip(x.reshape(-1, 3), y, strict=True)",
    }


def test_equal_changes_of_one_function_are_told_apart():
    source = "def f(x):\n    x = g(1)\n    x = g(1)\n"
    assert sorted((mutant.becomes, mutant.nth) for mutant in mutants_of(source)) == [
        ("x = g(0)", 1),
        ("x = g(0)", 2),
        ("x = g(2)", 1),
        ("x = g(2)", 2),
    ]


def test_a_result_counts_survivors_without_those_that_are_listed():
    names = {"killed": "test_a", "missed": "", "equal": "", "wrong": "test_b"}
    outcomes = [
        Outcome(function=name, was="x", becomes="y", nth=1, killed_by=killed_by, num_tests=1, seconds=0.1)
        for name, killed_by in names.items()
    ]
    listed = dict.fromkeys([("equal", "x", "y", 1), ("wrong", "x", "y", 1), ("gone", "x", "y", 1)], "why")
    result = Result(module="m.py", outcomes=outcomes, equivalents=listed)
    assert [outcome.function for outcome in result.survivors] == ["missed"]
    assert [text.split(":")[0] for text in (*result.wrongly_listed(), *result.no_longer_there())] == [
        "m.py, wrong",
        "m.py, gone",
    ]
    assert percent_killed(*result.counts) == pytest.approx(50)  # One of two that are not listed.
    assert table([result]).splitlines()[-1] == "| all | 4 | 1 | 1 | 2 | 50.0 % |"


def test_the_list_names_modules_that_are_mutated_and_gives_reasons():
    for module in MODULES:
        assert all(read_equivalents(module).values())
