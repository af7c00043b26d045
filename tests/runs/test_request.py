from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoseg.errors import ConfigError
from histoseg.runs.argv import from_words, to_words
from histoseg.runs.request import Request, without_password

WORD = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=["Zs", "Cc"]), min_size=1)
WORDS = st.lists(WORD, max_size=3).map(tuple)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
FIELDS = {
    "experiment": TEXT.filter(bool),
    "scale": TEXT,
    "data": TEXT,
    "store": TEXT,
    "imagenet": st.none() | WORD.map(Path),
    "start": st.none() | WORD.map(Path),
    "seeds": st.integers(1, 10**6),
    "workers": st.integers(1, 10**6),
    "slides": TEXT,
    "model": TEXT,
    "into": TEXT,
    "sets": WORDS,
    "listen": st.sampled_from([(), ("tensorboard", "mlflow=http://host:5000")]),
    "name": st.sampled_from(["", "table1-0"]),
    "submission": st.sampled_from(["", "4c28cfdc0e96"]),
    "capacity": st.sampled_from([(), ("CPU=8", "GPU=1.5")]),
}


def request_of(**changed):
    return Request(**{"experiment": "table1", **changed})


@settings(deadline=None)  # A busy machine takes its time.
@given(st.fixed_dictionaries(FIELDS))
def test_words_give_the_same_request_again(chosen):
    request = Request(**chosen)
    assert from_words(Request, to_words(request), "test") == request


def test_every_field_is_among_them():
    assert set(FIELDS) == {member.name for member in fields(Request)}


def test_every_field_can_be_typed():
    """A field without an option would be lost on its way to the driver."""
    given = {"sets": ("a=1",), "listen": ("b",), "capacity": ("CPU=1",), "imagenet": Path("c"), "start": Path("d")}
    given |= {"seeds": 2, "workers": 3, "name": "e"}
    full = request_of(**{member.name: given.get(member.name, "x") for member in fields(Request)})
    assert len(to_words(full)) == len(fields(Request))


def test_what_has_its_default_is_not_typed():
    assert to_words(request_of()) == ["--experiment=table1"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("experiment", ""),
        ("seeds", 0),
        ("workers", 0),
        ("sets", ("a b",)),
        ("listen", ("a\tb",)),
        ("name", "Table1"),
        ("name", "x" * 48),
        ("capacity", ("CPU",)),
        ("capacity", ("CPU=many",)),
    ],
)
def test_what_cannot_be_is_refused(field, value):
    with pytest.raises(ConfigError, match=rf"request\.{field}"):
        request_of(**{field: value})


@pytest.mark.parametrize(
    "words", [["--seeds=x"], ["--nonsense=1"], ["--see=2"], ["--seeds=0"], ["x"]], ids=lambda words: words[0]
)
def test_so_are_words_that_no_request_has(words):
    with pytest.raises(ConfigError):
        from_words(Request, ["--experiment=table1", *words], "test")


def test_no_password_can_travel_with_a_listener():
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        request_of(listen=("mlflow=https://me:very-secret@host",))
    assert "very-secret" not in str(caught.value)


def test_a_cluster_takes_its_own_store_unless_one_is_named():
    assert request_of().for_cluster("s3://lab/base/").store == "s3://lab/base"
    assert request_of(store="s3://mine").for_cluster("s3://lab/base").store == "s3://mine"
    with pytest.raises(ConfigError, match="STORE=s3://bucket/prefix"):
        request_of().for_cluster("")


def test_demo_data_never_mixes_with_real_data():
    assert request_of(data="demo").for_cluster("s3://lab/base").store == "s3://lab/base/demo"
    assert request_of().for_cluster("s3://lab/base").data == "prepared"


@pytest.mark.parametrize(("field", "value"), [("data", "relative/folder"), ("store", "file:///x")])
def test_a_cluster_refuses_what_its_pods_cannot_reach(field, value):
    with pytest.raises(ConfigError, match=rf"request\.{field} = '{value}'"):
        request_of(**{field: value}).for_cluster("s3://lab/base")


@pytest.mark.parametrize("field", ["imagenet", "start"])
def test_files_of_this_machine_are_refused_on_a_cluster(field):
    with pytest.raises(ConfigError, match="put-weights"):
        request_of(**{field: Path("weights.pth")}).for_cluster("s3://lab/base")


def test_capacity_as_numbers():
    assert request_of(capacity=("CPU=8", "GPU=1.5")).resources == {"CPU": 8.0, "GPU": 1.5}


def test_the_command_leaves_out_what_people_do_not_type():
    submitted = request_of(data="demo", seeds=3, name="table1-0", capacity=("CPU=8",))
    assert submitted.command == "make submit EXP=table1 DATA=demo SEEDS=3"


def test_passwords_are_removed_from_addresses():
    assert without_password("cannot reach http://a:b@h/x?y, but http://c") == "cannot reach http://h/x?y, but http://c"
    assert replace(request_of(), data="/x").command.endswith("DATA=/x")
