from histoseg.files.notes import collect, note


def test_notes_are_counted_by_their_text():
    with collect() as notes:
        note("small regions left out")
        note("small regions left out", 2)
        note("no such thing", 0)
    assert notes == {"small regions left out": 3}


def test_an_inner_collection_takes_its_own_notes_and_nothing_is_kept_without_one():
    note("outside")
    with collect() as outer:
        note("outer")
        with collect() as inner:
            note("inner")
        note("outer")
    assert (outer, inner) == ({"outer": 2}, {"inner": 1})
