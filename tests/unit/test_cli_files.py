"""JSON lines, and any file: every row comes out as it went in, every mistake has its place."""

import gzip
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tests.unit.input_files import DENSE, GOOD, SPARSE, lines, mistake, read
from torpor.cli import messages
from torpor.cli.errors import BadInput, CommandError, UsageError
from torpor.cli.input_file import open_input
from torpor.cli.rows import Shape
from torpor.v1 import data_pb2

# JSON lines


def test_json_lines_come_out_as_they_went_in(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "values": [0.1, -2.0]},
        {"id": "ü", "values": [1.0, 3e-9], "metadata": {"b": True, "l": ["x"], "n": 1, "t": "ä"}},
        {
            "id": "c",
            "values": [1.0, 2.0],
            "sparse_values": {"indices": [1, 7], "values": [0.5, 1.0]},
        },
    ]
    path = lines(
        tmp_path / "a.jsonl", "\ufeff" + json.dumps(rows[0]), "", "  ", *map(json.dumps, rows[1:])
    )
    assert read(path) == rows
    assert read(path, skip=1) == rows[1:] and read(path, skip=3) == []
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed) == rows


def test_what_fetch_prints_can_be_loaded(tmp_path: Path) -> None:
    vector = data_pb2.Vector(id="a", values=[0.1, 0.2], lsn=7)
    path = lines(tmp_path / "a.jsonl", json.dumps(messages.record(vector)))
    assert read(path) == [{"id": "a", "values": [0.1, 0.2]}]


def test_places_count_blank_lines_and_rows_do_not(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", "", GOOD, "", GOOD, "nonsense")
    with closing(open_input(path, DENSE)) as file:
        rows = file.rows(1)
        assert next(rows).place == 4
        with pytest.raises(BadInput, match="line 5: is not JSON"):
            next(rows)


def test_sparse_values_are_put_in_order(tmp_path: Path) -> None:
    row = {"id": "a", "sparse_values": {"indices": [9, 2], "values": [1, 2]}}
    path = lines(tmp_path / "a.jsonl", json.dumps(row), json.dumps({**row, "values": []}))
    ordered = {"id": "a", "sparse_values": {"indices": [2, 9], "values": [2.0, 1.0]}}
    assert read(path, SPARSE) == [ordered, ordered]


def dense_row(**changes: Any) -> str:
    row = {"id": "x", "values": [1, 2], **changes}
    return json.dumps({key: value for key, value in row.items() if value is not ...})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        (b'{"id": "\xff"}', "is not UTF-8 (byte 9 of the line)"),
        ("[1, 2]", "is not a JSON object"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"id": "x", "values": [1, NaN]}', "holds NaN, which is no JSON"),
        ('{"id": "x", "values": [1, -Infinity]}', "holds -Infinity, which is no JSON"),
        ('{"id": "x", "values": [1, ' + "9" * 5_000 + "]}", "holds a number that is too long"),
        (dense_row(vector=[1, 2]), "has the unknown field 'vector'"),
        (dense_row(id=...), "id is missing"),
        (dense_row(id=7), "id must be a string in quotes, not 7"),
        (dense_row(id=""), "id is empty"),
        (dense_row(id="ü" * 257), "id has 514 bytes; at most 512"),
        (dense_row(id="a\0b"), "id holds a NUL character"),
        (r'{"id": "\ud800", "values": [1, 2]}', "id is not Unicode"),
        (dense_row(values=...), "values are missing"),
        (dense_row(values="1,2"), "values must be a list of numbers, not a string"),
        (dense_row(values=[1, "2"]), "values must be numbers; value 2 is a string"),
        (dense_row(values=[True, 2]), "values must be numbers; value 1 is a boolean"),
        (dense_row(values=[1, None]), "values must be numbers; value 2 is null"),
        (dense_row(values=[1, [2]]), "values must be numbers; value 2 is a list"),
        (dense_row(values=[1, 1e39]), "values must be finite floats; value 2 is inf"),
        (dense_row(values=[10**400, 1]), "values holds a number that is too large for a float"),
        (dense_row(values=[1, 2, 3]), "values has 3 numbers; the index has dimension 2"),
        (dense_row(values=[]), "values has 0 numbers; the index has dimension 2"),
        (dense_row(values=[0, -0.0]), "values are all zero"),
        (dense_row(values=[0, 1e-60]), "values are all zero"),
        (dense_row(metadata=[1]), "metadata must be an object, not a list"),
        (dense_row(metadata={"a": None}), "metadata field 'a' must be"),
        (dense_row(metadata={"a": {"b": 1}}), "metadata field 'a' must be"),
        (dense_row(metadata={"a": [1]}), "metadata field 'a' must be"),
        ('{"id": "x", "values": [1, 2], "metadata": {"a": 1e999}}', "metadata field 'a' must be"),
        (dense_row(metadata={"a": 10**400}), "metadata holds a number that is too large"),
        (dense_row(metadata={"$a": 1}), "metadata field '$a' starts with '$'"),
        (dense_row(metadata={"a": "x" * 41_000}), "metadata has 410"),
        (r'{"id": "x", "values": [1, 2], "metadata": {"a": "\ud800"}}', "metadata holds text"),
        (
            dense_row(sparse_values=[1]),
            'sparse_values must be an object with "indices" and "values"',
        ),
        (
            dense_row(sparse_values={"indices": [1], "values": []}),
            "sparse_values has 1 indices and 0",
        ),
        (dense_row(sparse_values={"indices": [1, 1], "values": [1, 2]}), "has an index twice"),
        (dense_row(sparse_values={"indices": [-1], "values": [1]}), "indices of 0 to 4294967295"),
        (
            dense_row(sparse_values={"indices": [2**32], "values": [1]}),
            "indices of 0 to 4294967295",
        ),
        (dense_row(sparse_values={"indices": [1.5], "values": [1]}), "whole numbers as indices"),
        (
            dense_row(sparse_values={"indices": [1], "values": ["a"]}),
            "sparse_values must be numbers",
        ),
        (
            dense_row(sparse_values={"indices": list(range(1_001)), "values": [1] * 1_001}),
            "sparse_values has 1001 values; at most 1000",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "bytes",
)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, line: str | bytes, reason: str) -> None:
    path = lines(tmp_path / "a.jsonl", GOOD, "", line, GOOD)
    said = mistake(path)
    assert said.startswith(f"{path}, line 3: ") and reason in said and "\n" not in said


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "x"}, "sparse_values are missing"),
        ({"id": "x", "sparse_values": {"indices": [], "values": []}}, "sparse_values are empty"),
        (
            {"id": "x", "values": [1], "sparse_values": {"indices": [1], "values": [1]}},
            "values are not for a sparse index",
        ),
    ],
)
def test_a_bad_line_for_a_sparse_index_is_told(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    path = lines(tmp_path / "a.jsonl", json.dumps(row))
    assert f"line 1: {reason}" in mistake(path, SPARSE)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"[" * (17 << 20))
    assert mistake(path).endswith("line 1: is longer than 16 MiB")


@pytest.mark.parametrize("damage", ["cut", "no gzip", "flipped"])
def test_damaged_compression_is_told_with_its_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = bytearray(gzip.compress((GOOD + "\n").encode() * 3))
    if damage == "cut":
        packed = packed[:-6]
    elif damage == "flipped":
        packed[-5] ^= 1
    path.write_bytes(packed if damage != "no gzip" else b"no gzip at all")
    said = mistake(path)
    assert "the compressed data is damaged" in said and f"{path}, line " in said


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "id": st.text(
                    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
                    min_size=1,
                ).filter(lambda name: len(name.encode()) <= 512),
                "values": st.lists(
                    st.floats(width=32, allow_nan=False, allow_infinity=False),
                    min_size=2,
                    max_size=2,
                ),
                "metadata": st.dictionaries(
                    st.text(
                        st.characters(blacklist_categories=["Cs"], blacklist_characters="$"),
                        max_size=8,
                    ),
                    st.one_of(
                        st.booleans(),
                        st.integers(-(2**53), 2**53),
                        st.floats(allow_nan=False, allow_infinity=False),
                        st.text(st.characters(blacklist_categories=["Cs"])),
                        st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=5)),
                    ),
                    max_size=4,
                ),
            }
        ),
        max_size=8,
    ),
    st.integers(0, 9),
)
def test_any_rows_come_out_as_they_went_in(
    tmp_path: Path, rows: list[dict[str, Any]], skip: int
) -> None:
    """Values as the floats that they are, not as the decimals that stand for them."""
    shape = Shape(dimension=2, cosine=False, sparse=False)
    jsonl = lines(tmp_path / "a.jsonl", *map(json.dumps, rows))
    assert in_float32(read(jsonl, shape, skip)) == rows[skip:]
    table = pa.table(
        {
            "id": pa.array([row["id"] for row in rows], pa.string()),
            "vector": pa.array([row["values"] for row in rows], pa.list_(pa.float32())),
            "metadata": pa.array([json.dumps(row["metadata"]) for row in rows], pa.string()),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    assert in_float32(read(tmp_path / "a.parquet", shape, skip)) == rows[skip:]


def in_float32(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "values": [float(np.float32(v)) for v in row["values"]]} for row in rows]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_a_place(tmp_path: Path, content: bytes) -> None:
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet", "a.npy"):
        path = tmp_path / name
        path.write_bytes(content)
        said = f"{path}"
        try:
            read(path)
        except BadInput as error:
            said = str(error)
        assert said.startswith(f"{path}")


# Any file


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.jsonl, \.jsonl\.gz, \.parquet or \.npy"):
        open_input(lines(tmp_path / "a.csv", "a"), DENSE)
    with pytest.raises(CommandError, match="there is no such file"):
        open_input(tmp_path / "nobody.jsonl", DENSE)
    with pytest.raises(UsageError, match="--ids and --metadata go with"):
        open_input(lines(tmp_path / "a.jsonl", GOOD), DENSE, ids=tmp_path / "a.jsonl")


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_are_shown_short_and_read_back_the_same(value: float) -> None:
    (shown,) = messages.floats([value])
    assert np.float32(shown) == np.float32(value)
    assert len(repr(shown)) <= len(repr(value))
