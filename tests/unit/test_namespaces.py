"""The directory of namespaces, searched where it lies."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import namespaces
from storage.errors import DataLoss, FormatTooNew
from storage.files import Files
from storage.manifest import Manifest
from storage.name_table import Named, NameTable, encode_names
from storage.namespaces import NamespaceDirectory
from tests.faults.disk import FakeFiles

NAMES = st.binary(max_size=20)
SHORT = st.binary(max_size=2)
COUNTS = st.tuples(st.integers(0, 2**40), st.integers(0, 2**60))


@given(st.dictionaries(NAMES, COUNTS, max_size=40), NAMES)
def test_a_directory_answers_as_a_sorted_dict_would(
    counts: dict[bytes, tuple[int, int]], probe: bytes
) -> None:
    entries = [Named(name, *counts[name]) for name in sorted(counts)]
    directory = NamespaceDirectory(memoryview(namespaces.encode(entries, {})), "here")
    assert len(directory) == len(entries)
    assert list(directory) == entries
    assert directory.total_records == sum(records for records, _ in counts.values())
    for name in (*counts, probe):
        found = directory.find(name)
        assert found == (Named(name, *counts[name]) if name in counts else None)
        assert directory.first_at_least(name) == sum(one < name for one in counts)
    for prefix in (probe, probe[:1], probe[:1] + b"\xff", b"\xff", b""):
        assert directory.count(prefix) == sum(one.startswith(prefix) for one in counts)
    for index in (-1, len(entries)):
        with pytest.raises(IndexError):
            directory[index]


def test_an_index_that_was_never_folded_has_an_empty_directory() -> None:
    directory = NamespaceDirectory.open(FakeFiles(), Path("/data/index"), Manifest())
    assert (len(directory), directory.total_records, list(directory)) == (0, 0, [])


def test_a_directory_is_found_through_its_manifest(tmp_path: Path) -> None:
    files = Files()
    name = namespaces.file_name(12)
    assert name == "0000000012.namespaces"
    manifest = replace(Manifest(), namespaces=name)
    with pytest.raises(DataLoss, match=r"0000000012\.namespaces is missing"):
        NamespaceDirectory.open(files, tmp_path, manifest)
    files.write_new(tmp_path / name, [namespaces.encode([Named(b"a", 3, 4)], {})])
    assert list(NamespaceDirectory.open(files, tmp_path, manifest)) == [Named(b"a", 3, 4)]


def test_a_damaged_directory_is_never_served() -> None:
    entries = [Named(b"", 1, 2), Named(b"one", 3, 4), Named(b"two", 5, 6)]
    content = namespaces.encode(entries, {})
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        with pytest.raises(DataLoss, match="here"):
            NamespaceDirectory(memoryview(changed), "here")
        with pytest.raises(DataLoss, match="here"):
            NamespaceDirectory(memoryview(content[:at]), "here")


@given(
    st.dictionaries(SHORT, COUNTS, max_size=20),
    st.dictionaries(SHORT, st.one_of(st.none(), COUNTS), max_size=20),
)
def test_changing_a_table_is_encoding_what_it_has_become(
    before: dict[bytes, tuple[int, int]], changes: dict[bytes, tuple[int, int] | None]
) -> None:
    table = NameTable(memoryview(encode_names(named(before))), "here")
    after = {name: pair for name, pair in {**before, **changes}.items() if pair is not None}
    listed = [(name, pair and Named(name, *pair)) for name, pair in sorted(changes.items())]
    assert table.changed(listed) == encode_names(named(after))


def named(pairs: dict[bytes, tuple[int, int]]) -> list[Named]:
    return [Named(name, *pair) for name, pair in sorted(pairs.items())]


def test_a_newer_directory_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("storage.namespaces.FORMAT", 3)
        content = namespaces.encode([], {})
    with pytest.raises(FormatTooNew, match="The file here has format 3"):
        NamespaceDirectory(memoryview(content), "here")
