import hashlib
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoseg.errors import DataError
from histoseg.shards.folds import assign_folds, find_leaks, find_missing_classes
from histoseg.shards.same_tissue import SameTissue
from histoseg.types import EXTERNAL, FOLDS, Entry


def make_entry(key, patient=None, fold=None, same_as=()):
    """TCGA's patients have the same names everywhere."""
    person = patient if patient and patient.startswith("TCGA-") else ""
    return Entry(key=key, patient=patient or key, person=person, files={}, fold=fold, same_as=tuple(same_as))


def picture(first, second):
    return SameTissue(first=first, second=second, how="part", score=0.9)


def fold_of(folds, source, entry):
    return folds[f"{source}/{entry.patient}"]


# Type checks make each example take 20 ms, and ten times as long on a busy machine.
SLOW = settings(max_examples=50, deadline=None)
# Drawn as plain values: the type checks of real ones draw random numbers, which a strategy must not.
SOURCES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=15), min_size=1, max_size=3)
LINKS = st.lists(st.tuples(st.integers(0, 44), st.integers(0, 50)), max_size=4)


def build(sources, by_name, by_picture):
    """Entries of up to three sources, one for each number of a patient, and links by position among all images.

    A position beyond the last image stands for one that is not at hand, and links by name only.
    """
    images = [(source, f"i{i}") for source, patients in zip("abc", sources, strict=False) for i in range(len(patients))]
    names = [f"{source}/{key}" for source, key in images]
    links = {}
    for first, second in by_name:
        name = names[second] if second < len(names) else f"absent/{second}"
        links.setdefault(names[first % len(names)], []).append(name)
    entries = {
        source: [make_entry(f"i{i}", f"p{p}", same_as=links.get(f"{source}/i{i}", ())) for i, p in enumerate(patients)]
        for source, patients in zip("abc", sources, strict=False)
    }
    return entries, [picture(names[i % len(names)], names[j % len(names)]) for i, j in by_picture]


several_sources = st.tuples(SOURCES, LINKS, LINKS)


@settings(SLOW, max_examples=100)
@given(several_sources)
def test_every_patient_has_one_fold_and_nothing_leaks(drawn):
    entries, same = build(*drawn)
    folds = assign_folds(entries, same)
    assert set(folds) == {f"{source}/{entry.patient}" for source in entries for entry in entries[source]}
    assert set(folds.values()) <= set(FOLDS)
    assert find_leaks(folds, entries, same) == []


@SLOW
@given(several_sources, st.randoms(use_true_random=False))
def test_the_order_of_entries_changes_nothing(drawn, shuffler):
    entries, same = build(*drawn)
    sources = list(entries)
    shuffler.shuffle(sources)
    mixed = {source: shuffler.sample(entries[source], len(entries[source])) for source in sources}
    turned = [replace(pair, first=pair.second, second=pair.first) for pair in shuffler.sample(same, len(same))]
    assert assign_folds(mixed, turned) == assign_folds(entries, same)


@SLOW
@given(several_sources, several_sources)
def test_a_source_added_later_moves_nobody(earlier, later):
    entries, same = build(*earlier)
    before = assign_folds(entries, same)
    new = {f"{source}2": found for source, found in build(later[0], [], [])[0].items()}
    after = assign_folds(entries | new, same, before)
    assert {name: after[name] for name in before} == before
    # Nor does one that shows the tissue of another.
    copy = [make_entry("copy", same_as=[f"a/{entries['a'][0].key}"])]
    linked = assign_folds(entries | {"d": copy}, same, before)
    assert linked["d/copy"] == fold_of(before, "a", entries["a"][0])


@SLOW
@given(st.dictionaries(st.integers(0, 99), st.integers(1, 12), min_size=1, max_size=30))
def test_folds_differ_by_no_more_than_the_largest_patient(patients):
    entries = [make_entry(f"i{p}-{i}", f"p{p}") for p, count in patients.items() for i in range(count)]
    folds = assign_folds({"a": entries}, [])
    images = Counter(fold_of(folds, "a", entry) for entry in entries)
    assert len(images) == min(3, len(patients))
    # Each is dealt to the smallest fold, so no fold leads another by more than the patient it got last.
    assert max(images[fold] for fold in FOLDS) - min(images[fold] for fold in FOLDS) <= max(patients.values())


def test_each_source_is_balanced_not_just_all_together():
    entries = {source: [make_entry(f"i{i}") for i in range(9)] for source in ("large", "small")}
    entries["large"] = [make_entry(f"i{i}-{j}", f"p{i}") for i in range(30) for j in range(5)]
    same = [picture(f"small/i{i}", f"large/i{i}-0") for i in range(9)]
    folds = assign_folds(entries, same)
    for source, share in (("large", 50), ("small", 3)):
        assert Counter(fold_of(folds, source, entry) for entry in entries[source]) == dict.fromkeys(FOLDS, share)


def test_folds_are_not_dealt_in_the_order_of_names():
    entries = {"a": [make_entry(f"i{i:02}") for i in range(30)]}
    folds = assign_folds(entries, [])
    assert Counter(folds.values()) == dict.fromkeys(FOLDS, 10)
    assert len({tuple(list(folds.values())[i : i + 3]) for i in range(0, 30, 3)}) > 1


def sha256(name):
    return hashlib.sha256(name.encode()).hexdigest()


def test_equal_patients_are_dealt_by_hash():
    """Restated: in the order of their first images' hashes, three at a time, each to the free fold of least hash.

    Another order would move patients whose folds were not kept.
    """
    entries = {"a": [make_entry(f"i{i:02}", f"TCGA-A1-{i:04}") for i in range(30)]}
    folds = assign_folds(entries, [])
    dealt = sorted(entries["a"], key=lambda entry: sha256(f"a/{entry.key}"))
    for start in range(0, 30, 3):
        free = set(FOLDS)
        for entry in dealt[start : start + 3]:
            assert fold_of(folds, "a", entry) == min(free, key=lambda fold: sha256(f"a/{entry.key} {fold}"))
            free.remove(fold_of(folds, "a", entry))


def test_what_is_dealt_makes_up_for_what_is_fixed():
    # Three of nine images are in fold1 already, so the other folds get three each.
    entries = {"a": [*(make_entry(f"x{i}", "p", "fold1") for i in range(3)), *(make_entry(f"i{i}") for i in range(6))]}
    folds = assign_folds(entries, [])
    assert Counter(fold_of(folds, "a", entry) for entry in entries["a"]) == dict.fromkeys(FOLDS, 3)


def test_patients_with_most_images_are_dealt_first_with_all_that_they_are_linked_to():
    # Two linked patients of two images each, and eight of one: four in each fold. If the eight came first, folds would
    # have 3, 3 and 2 of them, and 6 with the others.
    entries = {"a": [make_entry(f"x{i}", f"p{i % 2}") for i in range(4)] + [make_entry(f"i{i}") for i in range(8)]}
    folds = assign_folds(entries, [picture("a/x0", "a/x1")])
    assert Counter(fold_of(folds, "a", entry) for entry in entries["a"]) == dict.fromkeys(FOLDS, 4)


def deal_one_of_each(images):
    """The fold of an image of source a that shows the same tissue as one of b, given what folds have of a and b."""
    entries = {"a": [make_entry("new")], "b": [make_entry("new")]}
    for fold, counts in images.items():
        for source, count in zip("ab", counts, strict=True):
            entries[source] += [make_entry(f"{fold}_{i}", fold=fold) for i in range(count)]
    return assign_folds(entries, [picture("a/new", "b/new")])["a/new"]


def test_a_fold_with_nothing_of_a_source_comes_first():
    # fold1 has most of b, and would be the dearest: 3/6² against 5/11² + 1/6².
    assert deal_one_of_each({"fold1": (0, 3), "fold2": (5, 1), "fold3": (5, 1)}) == "fold1"


@pytest.mark.parametrize(("lead", "expected"), [(3, "fold1"), (6, "fold2")])
def test_of_two_sources_shares_are_balanced_by_their_squares(lead, expected):
    # With the new ones there are 24 images of a and 12 of b. fold1 leads fold2 by 3 or 6 of a, and lacks 1 of b:
    # 3/24² is less than 1/12², and 6/24² is more. (By shares alone 3/24 > 1/12; by their cubes 6/24³ < 1/12³.)
    rest = 24 - 1 - (lead + 1) - 1
    assert deal_one_of_each({"fold1": (lead + 1, 1), "fold2": (1, 2), "fold3": (rest, 8)}) == expected


def test_a_published_fold_goes_to_all_that_is_linked():
    entries = {
        "a": [make_entry("one", "p1", "fold2"), make_entry("two", "p1"), make_entry("three", "p2")],
        "b": [make_entry("copy", same_as=["a/three"])],
        "c": [make_entry("crop")],
    }
    folds = assign_folds(entries, [picture("a/two", "b/copy"), picture("b/copy", "c/crop")])
    assert set(folds.values()) == {"fold2"}


def test_a_name_that_is_not_at_hand_links_those_that_bear_it():
    entries = {source: [make_entry("crop", same_as=["whole/7"])] for source in "ab"}
    entries["b"].append(make_entry("x", fold="fold3"))
    entries["a"][0] = replace(entries["a"][0], fold="fold1")
    assert assign_folds(entries, [])["b/crop"] == "fold1"


def test_external_stays_out_and_takes_its_patients_along():
    entries = {
        "nuclei": [make_entry("tcga_1", "TCGA-A1-B2C3", EXTERNAL), *(make_entry(f"i{i}") for i in range(3))],
        "other": [make_entry("x", "TCGA-A1-B2C3"), make_entry("y", "TCGA-A1-XXXX")],
    }
    folds = assign_folds(entries, [])
    assert folds["other/TCGA-A1-B2C3"] == EXTERNAL
    assert folds["other/TCGA-A1-XXXX"] in FOLDS
    assert {folds[f"nuclei/i{i}"] for i in range(3)} == set(FOLDS)
    assert assign_folds(entries, [], unbound=["nuclei"])["nuclei/TCGA-A1-B2C3"] == EXTERNAL


def contradicting():
    return {
        "lizard": [make_entry("glas_12", fold="fold1")],
        "glas": [make_entry("train_12")],
        "pannuke": [make_entry("fold2_0007", fold="fold2", same_as=["glas/train_12"])],
    }


def test_two_published_folds_of_one_tissue_are_refused():
    same = [picture("glas/train_12", "lizard/glas_12")]
    with pytest.raises(DataError) as error:
        assign_folds(contradicting(), same)
    text = str(error.value)
    assert "lizard/glas_12 (fold1, published) and pannuke/fold2_0007 (fold2, published)" in text
    assert ": lizard/glas_12 and glas/train_12 by picture; glas/train_12 and pannuke/fold2_0007 by name; " in text
    assert "; leave out lizard or pannuke, or prepare one of them with --deal-anew" in text
    folds = assign_folds(contradicting(), same, unbound=["pannuke"])
    assert set(folds.values()) == {"fold1"}
    assert find_leaks(folds, contradicting(), same, unbound=["pannuke"]) == []
    assert "published in fold2" in find_leaks(folds, contradicting(), same)[0]


def test_a_patient_in_two_published_folds_is_refused():
    entries = {"a": [make_entry("one", "p", "fold1"), make_entry("two", "p", "fold3")]}
    with pytest.raises(DataError, match=r"a/one \(fold1, published\) and a/two \(fold3, .*a/one and a/p by patient"):
        assign_folds(entries, [])


def test_a_person_in_two_published_folds_is_refused():
    entries = {"a": [make_entry("one", "TCGA-A1-B2C3", "fold1")], "b": [make_entry("two", "TCGA-A1-B2C3", "fold3")]}
    with pytest.raises(
        DataError, match="a/TCGA-A1-B2C3 and TCGA-A1-B2C3 by patient; TCGA-A1-B2C3 and b/TCGA-A1-B2C3 by"
    ):
        assign_folds(entries, [])


def test_of_several_contradictions_the_closest_two_are_named():
    # one (fold1) - two (fold1) - near (fold2), and two - middle - far (fold3): only two and near are one step apart.
    entries = {
        "a": [make_entry("one", fold="fold1"), make_entry("two", fold="fold1"), make_entry("middle")],
        "b": [make_entry("far", fold="fold3"), make_entry("near", fold="fold2")],
    }
    links = [("a/one", "a/two"), ("a/two", "b/near"), ("a/two", "a/middle"), ("a/middle", "b/far")]
    with pytest.raises(
        DataError, match=r"^a/two \(fold1, published\) and b/near \(fold2, published\) .*: a/two and b/near by"
    ):
        assign_folds(entries, [picture(*pair) for pair in links])


@pytest.mark.parametrize("published", [None, "fold2"])
def test_a_new_link_between_folds_of_before_is_refused(published):
    entries = {"a": [make_entry("one")], "b": [make_entry("two", fold=published)]}
    kept = {"a/one": "fold1"} if published else {"a/one": "fold1", "b/two": "fold2"}
    with pytest.raises(DataError, match=r"delete folds/assignments\.json and prepare all"):
        assign_folds(entries, [picture("a/one", "b/two")], kept)


def test_a_fold_that_is_none_is_refused():
    with pytest.raises(DataError, match="a/one is in 'train'; expected one of fold1"):
        assign_folds({"a": [make_entry("one", fold="train")]}, [])


@SLOW
@given(several_sources, st.integers(0, 10**6))
def test_a_patient_put_elsewhere_is_found(drawn, number):
    entries, same = build(*drawn)
    folds = assign_folds(entries, same)
    names = sorted(folds)
    moved = names[number % len(names)]
    corrupt = folds | {moved: FOLDS[(FOLDS.index(folds[moved]) + 1) % 3]}
    source, patient = moved.split("/")
    own = {f"{source}/{entry.key}" for entry in entries[source] if entry.patient == patient}
    links = [(pair.first, pair.second) for pair in same]
    links += [(f"{s}/{entry.key}", name) for s in entries for entry in entries[s] for name in entry.same_as]
    if any(len(own & set(pair)) == 1 and pair[0] != pair[1] and "absent" not in pair[1] for pair in links):
        assert find_leaks(corrupt, entries, same)


@pytest.mark.parametrize(
    ("entries", "same", "line"),
    [
        (
            {"a": [make_entry("x")], "b": [make_entry("y")]},
            [picture("a/x", "b/y")],
            "a/x (fold1) and b/y (fold2) are the same tissue by picture, a/x and b/y",
        ),
        (
            {"a": [make_entry("x")], "b": [make_entry("y", same_as=["a/x"])]},
            [],
            "a/x (fold1) and b/y (fold2) are the same tissue by name, a/x",
        ),
        (
            {s: [make_entry("x", same_as=["c/z"])] for s in "ab"},
            [],
            "a/x (fold1) and b/x (fold2) are the same tissue by name, c/z",
        ),
        (
            {s: [make_entry("x", "TCGA-A1-B2C3")] for s in "ab"},
            [],
            "a/x (fold1) and b/x (fold2) are the same patient, TCGA-A1-B2C3",
        ),
        ({"a": [make_entry("x", fold="fold3")], "b": [make_entry("y")]}, [], "a/x is in fold1 but published in fold3"),
    ],
)
def test_every_kind_of_leak_is_told(entries, same, line):
    folds = {f"a/{entries['a'][0].patient}": "fold1", f"b/{entries['b'][0].patient}": "fold2"}
    (leak,) = find_leaks(folds, entries, same)
    assert leak == line
    assert "a/x is in no fold" in " ".join(find_leaks({}, entries, same))


def test_a_fold_without_a_class_is_told():
    counts = {
        "glas": {"fold1": [5, 2], "fold2": [5, 0], "fold3": [0, 0]},
        "tiny": {"fold2": [0, 1], "fold3": [1, 1]},
        "outside": {EXTERNAL: [0, 3]},
    }
    classes = dict.fromkeys(counts, ("background", "gland"))
    assert find_missing_classes(counts, classes) == [
        "glas: fold2 has nothing of class gland",
        "glas: fold3 has nothing of class background, gland",
        "tiny: fold1 has no image",
        "tiny: fold2 has nothing of class background",
    ]
    with pytest.raises(ValueError, match="zip"):
        find_missing_classes({"glas": {"fold1": [5, 2]}}, {"glas": ("background",)})


def test_many_links_between_large_sources():
    rng = random.Random(0)
    entries = {source: [make_entry(f"i{i}", f"p{rng.randrange(300)}") for i in range(600)] for source in "ab"}
    same = [picture(f"a/i{rng.randrange(600)}", f"b/i{rng.randrange(600)}") for _ in range(50)]
    folds = assign_folds(entries, same)
    assert find_leaks(folds, entries, same) == []
    for source in "ab":
        counts = Counter(fold_of(folds, source, entry) for entry in entries[source])
        assert all(math.isclose(counts[fold], 200, rel_tol=0.05) for fold in FOLDS)
