"""Records of the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import FormatTooNew
from storage.records import Kind, NewRecord, Record, decode, encode, replay_cost_ms

NEW_RECORDS = st.builds(
    NewRecord, st.sampled_from(Kind), st.binary(max_size=200), st.integers(0, 2**32 - 1)
)


@given(st.lists(NEW_RECORDS), st.integers(0, 2**63))
def test_records_come_back_as_they_were_with_consecutive_numbers(
    records: list[NewRecord], first_lsn: int
) -> None:
    found = list(decode(encode(records, first_lsn), "the log"))
    assert found == [
        Record(first_lsn + number, kind, body, rows)
        for number, (kind, body, rows) in enumerate(records)
    ]
    assert all(isinstance(record.kind, Kind) for record in found)


def test_the_meaning_of_a_kind_never_changes() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        "UPSERT": 1,
        "DELETE_IDS": 2,
        "DELETE_ALL": 3,
        "CREATE_NAMESPACE": 4,
        "DELETE_NAMESPACE": 5,
        "UPDATE": 6,
        "UPDATE_BY_FILTER": 7,
        "DELETE_BY_FILTER": 8,
        "UPSERT_IF": 9,
    }


def test_an_unknown_kind_is_refused_by_name() -> None:
    payload = encode([NewRecord(77, b"", 0)], 1)
    with pytest.raises(FormatTooNew, match=r"The log file one\.log has a record of kind 77"):
        list(decode(payload, "one.log"))


def test_replaying_more_costs_more() -> None:
    least = replay_cost_ms(0, 0)
    assert 0 < least < min(replay_cost_ms(10_000, 0), replay_cost_ms(0, 1), replay_cost_ms(0, 0, 2))
