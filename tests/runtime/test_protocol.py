"""Messages to bytes and back; anything else is refused in one way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evener.core import events as e
from evener.runtime import protocol as p

NUMBERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
RANGES = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple)
ENTRIES = st.builds(
    p.Entry,
    name=st.text(),
    shape=st.lists(NUMBERS, max_size=4).map(tuple),
    dtype=st.text(),
    kind=st.text(),
)
OFFERS = st.builds(p.Offer, pid=NUMBERS, fd=NUMBERS, key=st.binary(max_size=20), size=NUMBERS)
SPECIAL = {
    p.Hello: {"entries": st.lists(ENTRIES, max_size=3)},
    p.Welcome: {"settings": st.dictionaries(st.text(), NUMBERS | FLOATS | st.booleans(), max_size=3)},
    p.Push: {"metrics": st.dictionaries(st.text(), st.tuples(FLOATS, FLOATS), max_size=3)},
    e.Granted: {"ranges": RANGES},
}
PLAIN = {
    "int": NUMBERS,
    "int | None": NUMBERS | st.none(),
    "float": FLOATS,
    "float | None": FLOATS | st.none(),
    "str": st.text(),
    "bool": st.booleans(),
    "bytes": st.binary(max_size=40),
    "Versions": st.builds(p.Versions, evener=st.text(), python=st.text(), torch=st.text()),
    "DataMark | None": st.builds(p.DataMark, samples=NUMBERS, digest=st.text()) | st.none(),
    "Offer": OFFERS,
    "Offer | None": OFFERS | st.none(),
    "tuple[int, ...]": st.lists(NUMBERS, max_size=4).map(tuple),
}


def message(kind: type) -> st.SearchStrategy[object]:
    """Any message of a kind, made from its annotations."""
    fields = kind.__annotations__
    special = SPECIAL.get(kind, {})
    return st.builds(kind, **{name: special[name] if name in special else PLAIN[str(fields[name])] for name in fields})


@settings(max_examples=150, deadline=None)
@given(st.one_of([message(kind) for kind in p.MESSAGES.values()]))
def test_round_trip(sent: p.Message) -> None:
    assert p.decode(p.encode(sent)) == sent
    assert p.decode(memoryview(p.encode(sent))) == sent


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x92\xa2\xff\xfe\xc0")  # a name that is no UTF-8
@example(b"\x92\xa5Hello" + b"\x91" * 100_000)  # nested beyond any stack
@example(b"\x92\xa5Alive" + b"\x81\xa1x" * 100_000)
@example(b"\x92\xa4Push\x81\xa7tickets\xdd\xff\xff\xff\xff")  # four billion tickets, it says
@example(b"\x92\xdb\xff\xff\xff\xffabc")
def test_garbage_is_a_protocol_error_or_nothing(data: bytes) -> None:
    try:
        decoded = p.decode(data)
    except p.ProtocolError:
        return
    assert type(decoded).__name__ in p.MESSAGES


@settings(max_examples=150, deadline=None)
@given(st.one_of([message(kind) for kind in p.MESSAGES.values()]), st.data())
def test_a_damaged_message_is_a_protocol_error_or_another_message(sent: p.Message, data: st.DataObject) -> None:
    raw = bytearray(p.encode(sent))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    test_garbage_is_a_protocol_error_or_nothing.hypothesis.inner_test(bytes(raw))  # type: ignore[attr-defined]


def test_an_unknown_message_is_named() -> None:
    with pytest.raises(p.ProtocolError, match="no message is called 'Grab'"):
        p.decode(b"\x92\xa4Grab\x80")


@given(st.integers(0, 5 * p.CHUNK))
def test_chunks_cover_everything_once(total: int) -> None:
    found = p.chunks(total)
    assert found[0][0] == 0
    assert found[-1][1] == total
    assert all(stop == start for (_, stop), (start, _) in pairwise(found))
    assert all(stop - start <= p.CHUNK for start, stop in found)


def test_the_first_difference_between_models_is_told() -> None:
    one = p.Entry("w", (2, 3), "float32", "trained")
    other = p.Entry("b", (3,), "float32", "trained")
    assert p.mismatch([one, other], [one, other]) == ""
    assert p.mismatch([one, other], [other, one]) == "the server has 'w' where 'b' is here"
    assert p.mismatch([one, other], [one]) == "the server's model has 2 tensors, this one 1"
    assert "'w' is float32 (2, 3), trained, on the server but float64 (2, 3), trained here" in p.mismatch(
        [one], [p.Entry("w", (2, 3), "float64", "trained")]
    )
