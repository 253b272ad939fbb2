"""Files to load: every row comes out as it went in, and every mistake is told with its place."""

import gzip
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from torpor.cli import messages
from torpor.cli.errors import BadInput, CommandError, UsageError
from torpor.cli.input_file import open_input
from torpor.cli.rows import Shape
from torpor.v1 import data_pb2

DENSE = Shape(dimension=2, cosine=True, sparse=False)
SPARSE = Shape(dimension=0, cosine=False, sparse=True)
GOOD = '{"id": "good", "values": [1, 2]}'


def read(path: Path, shape: Shape = DENSE, skip: int = 0, **more: Path) -> list[dict[str, Any]]:
    """The rows of a file as plain objects, without the LSN that only a server gives."""
    with closing(open_input(path, shape, **more)) as file:
        rows = [messages.record(row.vector) for row in file.rows(skip)]
        assert file.fraction() == 1.0 or not rows
    return [{key: value for key, value in row.items() if key != "lsn"} for row in rows]


def mistake(path: Path, shape: Shape = DENSE, **more: Path) -> str:
    """What is said of a file that cannot be loaded."""
    with pytest.raises(BadInput) as told:
        read(path, shape, **more)
    return str(told.value)


def lines(path: Path, *content: str | bytes) -> Path:
    path.write_bytes(b"\n".join(c if isinstance(c, bytes) else c.encode() for c in content) + b"\n")
    return path


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


# .npy


def matrix(path: Path, rows: Any, dtype: str = "float32") -> Path:
    np.save(path, np.asarray(rows, dtype))
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int64", "uint8"])
def test_a_matrix_comes_out_as_it_went_in(tmp_path: Path, dtype: str) -> None:
    path = matrix(tmp_path / "a.npy", [[1, 2], [3, 4], [5, 6]], dtype)
    rows = [{"id": str(n), "values": [2.0 * n + 1, 2.0 * n + 2]} for n in range(3)]
    assert read(path) == rows and read(path, skip=2) == rows[2:]
    np.save(path, np.asfortranarray(np.load(path)))
    assert read(path) == rows


def test_a_matrix_takes_ids_and_metadata_from_files_beside_it(tmp_path: Path) -> None:
    path = matrix(tmp_path / "a.npy", [[1, 2]] * 3)
    ids = lines(tmp_path / "ids.txt", "a", "ü b", "c")
    about = lines(tmp_path / "m.jsonl", '{"n": 1}', "", "null")
    rows = read(path, ids=ids, metadata=about)
    assert [row["id"] for row in rows] == ["a", "ü b", "c"]
    assert [row.get("metadata") for row in rows] == [{"n": 1}, None, None]
    assert [row["id"] for row in read(path, skip=2, ids=ids, metadata=about)] == ["c"]
    assert [row.get("metadata") for row in read(path, skip=0, metadata=about)] == [
        {"n": 1},
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("rows", "dtype", "reason"),
    [
        ([[1, 2, 3]], "float32", "has vectors of 3 numbers; the index has dimension 2"),
        ([1, 2], "float32", "must hold rows by dimensions of numbers, not float32(2,)"),
        ([["a", "b"]], "U1", "must hold rows by dimensions of numbers, not <U1(1, 2)"),
        ([[1, 2], [1, np.nan]], "float32", "row 2: values must be finite floats; value 2 is nan"),
        ([[1, 2], [1e300, 1]], "float64", "row 2: values must be finite floats; value 1 is inf"),
        ([[1, 2], [1, 2], [0, 0]], "float32", "row 3: values are all zero"),
    ],
)
def test_a_bad_matrix_is_told_with_its_row(
    tmp_path: Path, rows: Any, dtype: str, reason: str
) -> None:
    assert reason in mistake(matrix(tmp_path / "a.npy", rows, dtype))


def test_what_is_no_matrix_is_refused(tmp_path: Path) -> None:
    path = matrix(tmp_path / "a.npy", [[1, 2]] * 3)
    path.write_bytes(path.read_bytes()[:-1])
    assert "is no .npy file that can be mapped" in mistake(path)
    np.save(path, np.array([{}, {}], dtype=object), allow_pickle=True)
    assert "is no .npy file that can be mapped" in mistake(path)
    assert "holds dense vectors" in mistake(matrix(path, [[1, 2]]), SPARSE)


@pytest.mark.parametrize(
    ("ids", "metadata", "reason"),
    [
        (["a"], ["", ""], "ids.txt: has 1 lines, and {} has 2 rows"),
        (["a", "b", "c"], ["", ""], "ids.txt: has 3 lines, and {} has 2 rows"),
        (["a", "b"], [""], "m.jsonl: has 1 lines, and {} has 2 rows"),
        (["a", ""], ["", ""], "ids.txt, line 2: id is empty"),
        (["a", b"\xff"], ["", ""], "ids.txt, line 2: is not UTF-8"),
        (["a", "b"], ["", "{"], "m.jsonl, line 2: is not JSON"),
        (["a", "b"], ["", "[]"], "m.jsonl, line 2: metadata must be an object"),
        (["a", "b"], ["", '{"a": [1]}'], "m.jsonl, line 2: metadata field 'a' must be"),
    ],
)
def test_a_mistake_beside_a_matrix_is_told_with_its_file_and_line(
    tmp_path: Path, ids: list[str], metadata: list[str], reason: str
) -> None:
    path = matrix(tmp_path / "a.npy", [[1, 2]] * 2)
    beside = {
        "ids": lines(tmp_path / "ids.txt", *ids),
        "metadata": lines(tmp_path / "m.jsonl", *metadata),
    }
    assert reason.format(path) in mistake(path, **beside)


# Parquet


def table(path: Path, size: int = 2, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path, row_group_size=size)
    return path


FLOATS = pa.list_(pa.float32())


@pytest.mark.parametrize(
    "kind",
    [
        FLOATS,
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 2),
        pa.list_(pa.int32()),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["values", "vector"])
def test_parquet_comes_out_as_it_went_in(tmp_path: Path, kind: pa.DataType, name: str) -> None:
    values = pa.array([[n + 1, 2] for n in range(5)], kind)
    path = table(tmp_path / "a.parquet", id=["a", "b", "c", "d", "e"], **{name: values})
    rows = [{"id": one, "values": [n + 1.0, 2.0]} for n, one in enumerate("abcde")]
    for skip in range(6):
        assert read(path, skip=skip) == rows[skip:]


def test_parquet_metadata_may_be_text_struct_or_map(tmp_path: Path) -> None:
    base = {"id": pa.array([1, 2, 3]), "values": pa.array([[1, 2]] * 3, FLOATS)}
    wanted = [{"a": 1, "l": ["x"]}, None, {"a": 2}]
    text = ['{"a": 1, "l": ["x"]}', "", '{"a": 2}']
    struct = pa.array(wanted, pa.struct({"a": pa.int64(), "l": pa.list_(pa.string())}))
    for metadata in (text, pa.array(text, pa.large_string()), struct):
        rows = read(table(tmp_path / "a.parquet", **base, metadata=metadata))
        assert [row["id"] for row in rows] == ["1", "2", "3"]
        assert [row.get("metadata") for row in rows] == wanted
    maps = pa.array([[("a", 1.5)], None, []], pa.map_(pa.string(), pa.float64()))
    rows = read(table(tmp_path / "a.parquet", **base, metadata=maps))
    assert [row.get("metadata") for row in rows] == [{"a": 1.5}, None, {}]


def test_parquet_sparse_values_may_be_one_column_or_two(tmp_path: Path) -> None:
    wanted = {"indices": [2, 9], "values": [1.0, 0.5]}
    kind = pa.struct({"indices": pa.list_(pa.uint32()), "values": FLOATS})
    one = table(tmp_path / "one.parquet", id=["a"], sparse_values=pa.array([wanted], kind))
    two = table(
        tmp_path / "two.parquet",
        id=["a"],
        sparse_indices=pa.array([[9, 2]], pa.list_(pa.int64())),
        sparse_values=pa.array([[0.5, 1.0]], FLOATS),
    )
    for path in (one, two):
        assert read(path, SPARSE) == [{"id": "a", "sparse_values": wanted}]


def test_columns_that_are_not_loaded_are_told(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", id=["a"], values=pa.array([[1, 2]], FLOATS), title=["t"])
    with closing(open_input(path, DENSE)) as file:
        assert file.notes == (f"{path}: columns that are not loaded: title",)
        assert file.rows_total == 1


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"values": pa.array([[1, 2]], FLOATS)}, "has 0 columns id; it has values"),
        ({"id": ["a"]}, "has no column values or vector; it has id"),
        ({"id": ["a"], "values": ["1,2"]}, "column values must hold lists of numbers, not string"),
        (
            {"id": ["a"], "values": [[True]]},
            "column values must hold lists of numbers, not list<",
        ),
        ({"id": [1.5], "values": [[1.0, 2.0]]}, "column id must hold text or whole numbers"),
        (
            {"id": ["a"], "values": [[1.0, 2.0]], "vector": [[1.0, 2.0]]},
            "has both a column values and a column vector",
        ),
        (
            {"id": ["a"], "values": [[1.0, 2.0]], "metadata": [1]},
            "column metadata must hold text (JSON), structs or maps, not int64",
        ),
        (
            {"id": ["a"], "values": [[1.0, 2.0]], "sparse_indices": [[1]]},
            "has a column sparse_indices and no sparse_values",
        ),
        ({"id": ["a", None], "values": [[1.0, 2.0]] * 2}, "row 2: id is missing"),
        ({"id": ["a", "b"], "values": [[1.0, 2.0], None]}, "row 2: values are missing"),
        ({"id": ["a", "b"], "values": [[1.0, 2.0], [1.0]]}, "row 2: values has 1 numbers"),
        ({"id": ["a", "b"], "values": [[1.0, 2.0], [1.0, None]]}, "row 2: values must be finite"),
        ({"id": ["a", "b"], "values": [[1.0, 2.0], [1.0, 1e300]]}, "row 2: values must be finite"),
        (
            {"id": ["a", "b"], "values": [[1.0, 2.0]] * 2, "metadata": ["", "{"]},
            "row 2: metadata is not JSON",
        ),
        (
            {"id": ["a", "b"], "values": [[1.0, 2.0]] * 2, "metadata": ["", "1"]},
            "row 2: metadata must be an object",
        ),
        (
            {"id": ["a"], "values": [[1.0, 2.0]], "metadata": [{"a": {"b": 1}}]},
            "row 1: metadata field 'a' must be",
        ),
        (
            {"id": ["a"], "values": [[1.0, 2.0]], "sparse_indices": [[1]], "sparse_values": [[]]},
            "row 1: sparse_values ",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_bad_parquet_file_is_told_with_its_row(
    tmp_path: Path, columns: dict[str, Any], reason: str
) -> None:
    path = table(tmp_path / "a.parquet", **columns)
    said = mistake(path)
    assert said.startswith(str(path)) and reason in said


def test_a_row_of_a_later_group_is_told_with_its_number_in_the_file(tmp_path: Path) -> None:
    values = pa.array([[1, 2]] * 6 + [[0, 0]], FLOATS)
    path = table(tmp_path / "a.parquet", id=list("abcdefg"), values=values)
    assert "row 7: values are all zero" in mistake(path)
    with closing(open_input(path, DENSE)) as file, pytest.raises(BadInput, match="row 7: "):
        list(file.rows(5))


def test_a_damaged_parquet_file_is_told(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((3_000, 2)).astype(np.float32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 2)
    path = tmp_path / "a.parquet"
    content = pa.table({"id": [str(n) for n in range(3_000)], "values": values})
    parquet.write_table(content, path, row_group_size=1_500, compression="zstd")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 4_000] = bytes(4_000)
    path.write_bytes(damaged)
    assert "or after: the file is damaged" in mistake(path)
    path.write_bytes(damaged[:-3])
    assert "cannot be read as Parquet" in mistake(path)


def test_without_pyarrow_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path / "a.parquet", id=["a"], values=[[1.0, 2.0]])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CommandError, match=r"pip install 'torpor\[parquet\]'"):
        open_input(path, DENSE)


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
