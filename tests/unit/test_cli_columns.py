"""Matrices and Parquet files: every row comes out as it went in, every mistake has its place."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.unit.input_files import DENSE, SPARSE, lines, mistake, read
from torpor.cli.errors import BadInput, CommandError
from torpor.cli.input_file import open_input

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
