"""Three folds by patient over all sources at once, and an external part (Cerberus, "Data split").

Images are linked by patient, by name (`Entry.same_as`) and by picture (`same_tissue.find_same_tissue`). Images that are
linked, directly or through others, share a fold: the published one, else the one of an earlier call, else one dealt
here.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from histoseg.errors import DataError
from histoseg.shards.same_tissue import SameTissue
from histoseg.store.keys import FOLD_ASSIGNMENTS
from histoseg.types import EXTERNAL, FOLDS, Entry, Split

Node = tuple[str, str]  # ("image", "source/key") or ("patient", "source/patient").
Graph = dict[Node, dict[Node, str]]  # The neighbours of each node, and what links them.


def assign_folds(
    entries: Mapping[str, list[Entry]],
    same: Iterable[SameTissue],
    kept: Mapping[str, Split] | None = None,
    unbound: Collection[str] = (),
) -> dict[str, Split]:
    """The fold of each patient, as "source/patient"; the same on any machine and in any order of entries.

    Patients without a fold are dealt together with all that they are linked to: groups with most images first, each to
    the fold that lacks most images of its sources.

    Args:
        entries: Those of each source.
        same: Images that show the same tissue, as "source/key".
        kept: What an earlier call returned, so that a source added later moves no patient; None for the first call.
        unbound: Sources whose published folds, except external, are not kept: those of two sources that share tissue
            may contradict each other.

    Raises:
        DataError: If linked images have different folds already.
    """
    graph = _link(entries, same)
    fixed = _fixed_folds(entries, kept or {}, unbound)
    chosen: dict[Node, Split] = {}
    free: list[list[Node]] = []
    for component in _components(graph):
        folds = {fixed[node][0] for node in component if node in fixed}
        if len(folds) > 1:
            raise DataError(_explain_conflict(graph, component, fixed))
        if folds:
            chosen |= dict.fromkeys(component, folds.pop())
        else:
            free.append(component)
    chosen |= _deal(free, chosen, entries)
    patients = sorted(_patient(source, entry) for source in entries for entry in entries[source])
    return {name: chosen["patient", name] for name in patients}


def find_leaks(
    folds: Mapping[str, Split],
    entries: Mapping[str, list[Entry]],
    same: Iterable[SameTissue],
    unbound: Collection[str] = (),
) -> list[str]:
    """A line for each link between images of different folds, and for each published fold that was not kept.

    It shares no code with `assign_folds`. It checks direct links only: if these hold, so does any chain of them.
    """
    fold_of = {
        f"{name}/{entry.key}": folds.get(f"{name}/{entry.patient}") for name in entries for entry in entries[name]
    }
    leaks = []
    for source in sorted(entries):
        for entry in entries[source]:
            image, published = f"{source}/{entry.key}", entry.fold
            if fold_of[image] not in (*FOLDS, EXTERNAL):
                leaks.append(f"{image} is in no fold")
            elif published not in (None, fold_of[image]) and (published == EXTERNAL or source not in unbound):
                leaks.append(f"{image} is in {fold_of[image]} but published in {published}")
    for common, images in sorted(_groups(entries, same).items()):
        first, *others = sorted(images & fold_of.keys()) or [""]
        leaks += [
            f"{first} ({fold_of[first]}) and {other} ({fold_of[other]}) are the same {common}"
            for other in others
            if fold_of[other] != fold_of[first]
        ]
    return leaks


def _groups(entries: Mapping[str, list[Entry]], same: Iterable[SameTissue]) -> dict[str, set[str]]:
    """Images that must share a fold, by what they have in common: patient, name or picture."""
    groups: dict[str, set[str]] = {}
    for source in entries:
        for entry in entries[source]:
            image = f"{source}/{entry.key}"
            whose = entry.person or f"{source}/{entry.patient}"
            groups.setdefault(f"patient, {whose}", set()).add(image)
            for name in entry.same_as:
                groups.setdefault(f"tissue by name, {name}", {name}).add(image)
    for pair in same:
        groups[f"tissue by picture, {pair.first} and {pair.second}"] = {pair.first, pair.second}
    return groups


def find_missing_classes(
    counts: Mapping[str, Mapping[Split, Sequence[int]]], classes: Mapping[str, Sequence[str]]
) -> list[str]:
    """A line for each fold that lacks a class or all images of a source: it can be neither learnt nor scored there.

    Counts are of pixels or objects of each class. Sources with only external images are left out.
    """
    lines = []
    for source, by_fold in sorted(counts.items()):
        if not set(by_fold) & set(FOLDS):
            continue
        for fold in FOLDS:
            if fold not in by_fold:
                lines.append(f"{source}: {fold} has no image")
                continue
            missing = [name for name, count in zip(classes[source], by_fold[fold], strict=True) if count == 0]
            if missing:
                lines.append(f"{source}: {fold} has nothing of class {', '.join(missing)}")
    return lines


def _patient(source: str, entry: Entry) -> str:
    return f"{source}/{entry.patient}"


def _link(entries: Mapping[str, list[Entry]], same: Iterable[SameTissue]) -> Graph:
    """All links. A name of an absent image is a node, too: two images linked to it show the same tissue."""
    graph: Graph = {}

    def join(first: Node, second: Node, by: str) -> None:
        graph.setdefault(first, {}).setdefault(second, by)
        graph.setdefault(second, {}).setdefault(first, by)

    for source in sorted(entries):
        for entry in sorted(entries[source], key=lambda entry: entry.key):
            image, patient = ("image", f"{source}/{entry.key}"), ("patient", _patient(source, entry))
            join(image, patient, "patient")
            if entry.person:
                join(patient, ("patient", entry.person), "patient")
            for name in sorted(entry.same_as):
                join(image, ("image", name), "name")
    for pair in sorted(same, key=lambda pair: (pair.first, pair.second)):
        join(("image", pair.first), ("image", pair.second), "picture")
    return graph


def _components(graph: Graph) -> Iterator[list[Node]]:
    """Nodes that are linked with each other, sorted."""
    seen: set[Node] = set()
    for start in sorted(graph):
        if start not in seen:
            component = sorted(_paths(graph, start))
            seen.update(component)
            yield component


def _paths(graph: Graph, start: Node) -> dict[Node, Node]:
    """Each reachable node, and the node before it on a shortest path from the start."""
    before, waiting = {start: start}, deque([start])
    while waiting:
        node = waiting.popleft()
        for other in sorted(graph[node]):
            if other not in before:
                before[other] = node
                waiting.append(other)
    return before


def _fixed_folds(
    entries: Mapping[str, list[Entry]], kept: Mapping[str, Split], unbound: Collection[str]
) -> dict[Node, tuple[Split, str]]:
    """The folds that images and patients have already, and where these are from."""
    fixed: dict[Node, tuple[Split, str]] = {}
    for source, found in entries.items():
        for entry in found:
            if entry.fold == EXTERNAL or (entry.fold is not None and source not in unbound):
                fixed["image", f"{source}/{entry.key}"] = entry.fold, "published"
            patient = _patient(source, entry)
            if patient in kept:
                fixed["patient", patient] = kept[patient], "prepared earlier"
    for (_, name), (fold, _) in sorted(fixed.items()):
        if fold not in (*FOLDS, EXTERNAL):
            raise DataError(f"{name} is in {fold!r}; expected one of {', '.join((*FOLDS, EXTERNAL))}")
    return fixed


def _explain_conflict(graph: Graph, component: list[Node], fixed: Mapping[Node, tuple[Split, str]]) -> str:
    """The two nodes with different folds, how they are linked, and what to do."""
    way = _shortest_conflict(graph, [node for node in component if node in fixed], fixed)
    first, other = sorted([way[0], way[-1]])
    steps = "; ".join(f"{a[1]} and {b[1]} by {graph[a][b]}" for a, b in pairwise(way))
    names = [f"{name} ({fold}, {since})" for (_, name), (fold, since) in ((end, fixed[end]) for end in (first, other))]
    text = f"{names[0]} and {names[1]} show the same tissue or patient: {steps}; "
    if "prepared earlier" in (fixed[first][1], fixed[other][1]):
        return text + f"leave out the source added last, or delete {FOLD_ASSIGNMENTS} and prepare all sources again"
    sources = sorted({end[1].split("/")[0] for end in (first, other)})
    if len(sources) == 1:
        return text + f"correct the folds of {sources[0]}, or prepare it with --deal-anew {sources[0]}"
    return text + f"leave out {sources[0]} or {sources[1]}, or prepare one of them with --deal-anew"


def _shortest_conflict(graph: Graph, known: list[Node], fixed: Mapping[Node, tuple[Split, str]]) -> list[Node]:
    """The nodes on a shortest path between two of different folds, both included."""
    ways = []
    for start in known:
        before = _paths(graph, start)
        ways += [_way(before, node) for node in known if node > start and fixed[node][0] != fixed[start][0]]
    return min(ways, key=lambda way: (len(way), way))


def _way(before: Mapping[Node, Node], end: Node) -> list[Node]:
    """The nodes from the start to an end."""
    way = [end]
    while before[way[0]] != way[0]:
        way.insert(0, before[way[0]])
    return way


def _deal(
    free: list[list[Node]], chosen: Mapping[Node, Split], entries: Mapping[str, list[Entry]]
) -> dict[Node, Split]:
    """A fold for each component: one without images of its sources, else the one that lacks most of them."""
    images = Counter[Node](("patient", _patient(source, entry)) for source in entries for entry in entries[source])
    have = {fold: _count([node for node in chosen if chosen[node] == fold], images) for fold in FOLDS}
    sizes = {component[0]: _count(component, images) for component in free}
    # By hash where sizes are equal: the order of names often has a meaning.
    free = sorted(free, key=lambda component: (-sizes[component[0]].total(), _hash(component[0][1])))
    dealt: dict[Node, Split] = {}
    for component in free:
        size = sizes[component[0]]

        def cost(fold: Split, size: Counter[str] = size, name: str = component[0][1]) -> tuple[int, float, bytes]:
            new = sum(have[fold][source] == 0 for source in size)
            # The growth of the squared differences between a source's share of images in this fold and a third.
            excess = sum(size[source] * have[fold][source] / len(entries[source]) ** 2 for source in sorted(size))
            return -new, excess, _hash(f"{name} {fold}")

        fold = min(FOLDS, key=cost)
        dealt |= dict.fromkeys(component, fold)
        have[fold] += size
    return dealt


def _count(nodes: Iterable[Node], images: Mapping[Node, int]) -> Counter[str]:
    """Images of each source."""
    count = Counter[str]()
    for node in nodes:
        if node in images:
            count[node[1].split("/")[0]] += images[node]
    return count


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
