"""Plain data crosses unchanged and exact; nothing else crosses."""

import collections
import contextlib
import datetime
import enum
import json
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.sandbox.inside.codec import NotData, decode, encode

SURROGATES = st.text(st.characters(codec=None), max_size=8)
HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | SURROGATES
    | st.binary(max_size=8)
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.datetimes(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=8,
)
DATA = st.recursive(
    HASHABLE | st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
        | st.tuples(inner)
    ),
    max_leaves=12,
)


def across(value):
    return decode(json.loads(json.dumps(encode(value))))


@settings(deadline=None)
@given(DATA)
def test_data_comes_back_equal_and_of_the_same_type(value):
    back = across(value)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value) or isinstance(value, set | frozenset | dict | list | tuple)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=20
    )
)
def test_arbitrary_json_decodes_or_is_refused(data):
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError):
        decode(data, lambda number: number)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 2**64, -(10**400), True, 1, 1.0])
def test_numbers_keep_their_kind(value):
    assert repr(across(value)) == repr(value)


class Suit(enum.IntEnum):
    HEARTS = 3


class Loud(str):
    def __str__(self):
        return "LIE"

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Suit.HEARTS, 3),
        (Loud("truth"), "truth"),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.namedtuple("P", "x y")(1, 2), (1, 2)),
        (collections.deque([1, 2]), collections.deque([1, 2])),
        (Decimal("1.50"), Decimal("1.50")),
        (Fraction(1, 3), Fraction(1, 3)),
        (datetime.date(2020, 1, 2), datetime.date(2020, 1, 2)),
    ],
)
def test_subclasses_cross_as_their_base(value, base):
    back = across(value)
    assert type(back) is type(base)
    assert back == base


@pytest.mark.parametrize("value", [object(), len, lambda: 0, (x for x in ()), NotImplemented])
def test_what_is_no_data_is_refused_or_named_by_a_handle(value):
    with pytest.raises(NotData):
        encode(value)
    assert encode([value], lambda thing: 7) == [{"!h": 7}]


def test_what_stands_twice_is_one_object_on_the_other_side():
    row = [0]
    table = {"rows": [row, row], "again": row, "other": [0]}
    back = decode(json.loads(json.dumps(encode(table))))
    assert back == table
    assert back["rows"][0] is back["rows"][1] is back["again"]
    assert back["other"] is not back["again"]
    ring = [1]
    ring.append({"self": ring})
    back = decode(json.loads(json.dumps(encode(ring))))
    assert back[1]["self"] is back
    web = []
    for _ in range(60):
        web = [web, web]  # written out it would have 2 ** 60 lists
    assert len(json.dumps(encode(web))) < 2000
    queue = collections.deque([1], maxlen=3)
    first, second = decode(encode([queue, queue]))
    assert first is second


@pytest.mark.parametrize(
    "form",
    [
        {"!=": [0, {"!t": [1]}]},
        {"!=": [0, 5]},
        {"!=": ["x", [1]]},
        {"!=": [0, {"!d": [], "!s": []}]},
        [{"!=": [0, []]}, {"!=": [0, []]}],
        {"!@": 3},
        {"!@": [1]},
        {"!=": [0, {"!s": [{"!@": 0}]}]},
    ],
)
def test_no_web_of_hashable_things_and_no_unknown_number(form):
    with pytest.raises((ValueError, TypeError, KeyError)):
        decode(form)


@pytest.mark.parametrize(
    "data", [{"!F": "1e999999999"}, {"!x": 1}, {"!t": 1, "!d": 2}, {"!y": "print"}, {"!i": "z"}, {"!h": 1}]
)
def test_nonsense_is_refused(data):
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(data)
