"""Metadata and filters as hypothesis draws them: all kinds of values, mixed in a field, or missing."""

from hypothesis import strategies as st

KEYS = ["a", "b", "c", ""]
STRINGS = st.sampled_from(["", "x", "y", "é", "\0x", "long " * 40, "long " * 39 + "other"])
NUMBERS = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0, 1e300])
SCALARS = st.one_of(STRINGS, NUMBERS, st.booleans())
STORED = st.one_of(SCALARS, st.lists(STRINGS, max_size=3))
RECORDS = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, STORED))
CONDITIONS = st.one_of(
    SCALARS,
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), SCALARS, min_size=1),
    st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), NUMBERS, min_size=1),
    st.dictionaries(
        st.sampled_from(["$in", "$nin"]),
        st.lists(st.one_of(STRINGS, NUMBERS), max_size=4),
        min_size=1,
    ),
    st.fixed_dictionaries({"$exists": st.booleans()}),
)
FILTERS = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), CONDITIONS, min_size=1, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=6,
)
