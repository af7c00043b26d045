"""Every mutant of a file: one small change each, by mutmut's operators and three of ours.

Types, imports, decorators, docstrings and the words of messages stay as they are: tests should not depend on them (of
a message they match the values in it), unless words are what a module is for. Of mutmut's operators those are left out
that put None in a value's place or drop an argument by position: most such mutants crash by themselves, and would only
raise the percentage. Two things compute the same in any case: `strict` of `zip`, which guards against faults of the
program itself, and the -1 of `reshape`, in whose place NumPy takes any negative number.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import libcst as cst
import libcst.matchers as m
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
from mutmut.mutation import mutators

SWAPPED = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}
NUDGE = 1.1  # A fraction such as a threshold moves by a tenth, which one more would not do.
MODULE_LEVEL = "<module>"
STRINGS = (cst.SimpleString, cst.FormattedStringText)
MINUS_ONE = m.UnaryOperation(m.Minus(), m.Integer("1"))
SENTENCE = re.compile("[a-z]+ [a-z]+")  # Two words are one.
Operator = Callable[..., Iterable[cst.CSTNode]]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of a file.

    Attributes:
        function: Qualified name of the function or method that the change is in; MODULE_LEVEL outside of any.
        was: The lines that change, without indentation and comments.
        becomes: The same lines after the change.
        nth: Counts, from 1, changes of the same function that read the same.
        source: The whole file after the change.
    """

    function: str
    was: str
    becomes: str
    nth: int
    source: str

    @property
    def identity(self) -> tuple[str, str, str, int]:
        """What stays the same while other lines of the file change."""
        return self.function, self.was, self.becomes, self.nth


def mutants_of(source: str, *, words: bool = False) -> list[Mutant]:
    """Every mutant that is Python and differs from the source and from the others, in the order of the file.

    With `words`, what is written in sentences is changed, too.
    """
    wrapper = MetadataWrapper(cst.parse_module(source))
    collector = _Collector(words)
    wrapper.visit(collector)
    replaced = _replacer(wrapper)
    known, counts = {source}, Counter[tuple[str, str, str]]()
    mutants = []
    for function, node, changed in collector.changes:
        text = replaced(node, changed)
        if text in known or not _is_python(text):
            continue
        known.add(text)
        was, becomes = _changed_lines(source, text)
        counts[function, was, becomes] += 1
        nth = counts[function, was, becomes]
        mutants.append(Mutant(function=function, was=was, becomes=becomes, nth=nth, source=text))
    return mutants


def _replacer(wrapper: MetadataWrapper) -> Callable[[cst.CSTNode, cst.CSTNode], str]:
    """A function that gives the source with one node replaced: by its place in the text, as the tree takes long."""
    spans = wrapper.resolve(ByteSpanPositionProvider)
    source = wrapper.module.bytes

    def replaced(node: cst.CSTNode, changed: cst.CSTNode) -> str:
        old, new = (wrapper.module.code_for_node(one).encode() for one in (node, changed))
        start, stop = (span := spans[node]).start, span.start + span.length
        if source[start:stop] == old:
            return (source[:start] + new + source[stop:]).decode()
        mutated = wrapper.module.deep_replace(node, changed)  # Its place leaves out the space around it.
        return mutated.code if isinstance(mutated, cst.Module) else ""

    return replaced


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _changed_lines(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, from the first to the last of them, without indentation and comments."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[-1] == new[-1]:
        old.pop()
        new.pop()
    same = next(
        (i for i, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new))
    )
    was, becomes = ("\n".join(line.partition("  # ")[0].strip() for line in lines[same:]) for lines in (old, new))
    return was, becomes


def _number_down(node: cst.BaseNumber) -> Iterator[cst.CSTNode]:
    """One less of a whole number, a tenth more of a fraction; one more of either is mutmut's."""
    if isinstance(node, cst.Integer):
        yield cst.parse_expression(
            f"({node.evaluated_value - 1})" if node.evaluated_value < 1 else str(node.evaluated_value - 1)
        )
    elif isinstance(node, cst.Float):
        yield cst.Float(repr(node.evaluated_value * NUDGE))


def _name_swapped(node: cst.Name) -> Iterator[cst.CSTNode]:
    if node.value in SWAPPED:
        yield node.with_changes(value=SWAPPED[node.value])


def _text_of_f_string(node: cst.FormattedStringText) -> Iterator[cst.CSTNode]:
    yield node.with_changes(value=f"XX{node.value}")


def _keyword_dropped(node: cst.Call) -> Iterator[cst.CSTNode]:
    """A call without one of its keyword arguments, so with the default."""
    for i, argument in enumerate(node.args):
        if argument.keyword and argument.keyword.value != "strict":
            yield node.with_changes(args=[*node.args[:i], *node.args[i + 1 :]])


LEFT_OUT: Sequence[Operator] = (mutators.operator_assignment, mutators.operator_lambda, mutators.operator_arg_removal)
OPERATORS: Sequence[tuple[type, Operator]] = (
    *((kind, operator) for kind, operator in mutators.mutation_operators if operator not in LEFT_OUT),
    (cst.BaseNumber, _number_down),
    (cst.Name, _name_swapped),
    (cst.FormattedStringText, _text_of_f_string),
    (cst.Call, _keyword_dropped),
)


class _Collector(cst.CSTVisitor):
    """Collects (function, node, changed node) for every change to be made."""

    def __init__(self, words: bool) -> None:
        super().__init__()
        self._words = words
        self.changes: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []
        self._scopes: list[cst.FunctionDef | cst.ClassDef] = []
        self._raises = 0
        self._reshaped: set[cst.CSTNode] = set()

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)) or _is_left_alone(node):
            return False
        if m.matches(node, m.Call(m.Attribute(attr=m.Name("reshape")))):
            self._reshaped |= {argument for argument in node.children if m.matches(argument, m.Arg(MINUS_ONE))}
        if node in self._reshaped:
            return False
        if isinstance(node, cst.Raise):
            self._raises += 1
        if not (isinstance(node, STRINGS) and (self._raises or (SENTENCE.search(node.value) and not self._words))):
            for kind, operator in OPERATORS:
                if isinstance(node, kind):
                    self.changes += [(self._function(), node, changed) for changed in operator(node)]
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self._scopes.append(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.Raise):
            self._raises -= 1
        if isinstance(original_node, (cst.FunctionDef, cst.ClassDef)):
            self._scopes.pop()

    def _function(self) -> str:
        """Qualified name of the outermost function, by which tests are chosen."""
        names = []
        for scope in self._scopes:
            names.append(scope.name.value)
            if isinstance(scope, cst.FunctionDef):
                return ".".join(names)
        return MODULE_LEVEL


def _is_left_alone(node: cst.CSTNode) -> bool:
    """Whether a node is a docstring, a name for a type, `strict=`, or the "nan" of `float("nan")` in any case."""
    is_docstring = m.Expr(m.SimpleString() | m.ConcatenatedString())
    is_type = m.Assign([m.AssignTarget(m.Name(m.MatchRegex("[A-Z][A-Za-z]*[a-z]")))], m.Subscript())
    is_nan = m.Call(m.Name("float"), [m.Arg(m.SimpleString())])
    is_strict = m.Arg(keyword=m.Name("strict"))
    return m.matches(node, is_docstring | is_type | is_nan | is_strict)
