"""Segments and masks: what is written is read, and what is damaged is found where it can be."""

from pathlib import Path

import numpy as np
import pytest

from kernels.closeness import halved
from kernels.codes import Frame, encode
from storage import manifest as manifests
from storage.errors import DataLoss, FormatTooNew
from storage.files import Files
from storage.limits import CHECKSUM_BLOCK_BYTES
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest
from storage.masks import encode_mask, read_mask
from storage.records import Kind, NewRecord
from storage.segment import Segment, hash_ids
from storage.segment_format import Section
from tests.queries import answer, struct
from torpor.internal.v1 import twin_pb2 as twin
from worker.builder import run
from worker.verify import main, verify
from worker.view import View

GOLDEN = Path(__file__).parent.parent / "golden"
DIMENSION = 64
METADATA = struct({"k": "v"})
VECTORS = np.random.default_rng(1).standard_normal((900, DIMENSION)).astype(np.float32)


def upsert(namespace: str, first: int, last: int, vectors: np.ndarray = VECTORS) -> NewRecord:
    request = twin.UpsertTwin(namespace=namespace.encode())
    for number in range(first, last):
        one = request.vectors.add(id=b"%04d" % number, values=vectors[number].tobytes())
        if number % 2:
            one.metadata = b"" if number % 3 else METADATA
    return NewRecord(Kind.UPSERT, request.SerializeToString(), last - first)


def folded(folder: Path, *batches: NewRecord) -> Manifest:
    """An index with one segment for each batch."""
    files = Files()
    folder.mkdir(parents=True, exist_ok=True)
    manifests.store(files, folder, Manifest())
    writer = LogWriter(files, folder, recover(files, folder, Manifest().log))
    for batch in batches:
        end = writer.append([batch])
        manifest = manifests.load(files, folder)
        order = {"kind": "fold", "end": end, "number": manifest.next_number, "metric": "euclidean"}
        manifests.store(files, folder, run(files, folder, len(VECTORS[0]), order)[0])
    writer.close()
    return manifests.load(files, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = tmp_path / "data" / "local" / "default" / "0123456789abcdef"
    folded(index, upsert("", 0, 500), upsert("other", 300, 900))
    return index


def segments(folder: Path) -> list[Segment]:
    manifest = manifests.load(Files(), folder)
    return [Segment(Files(), folder, entry) for entry in manifest.segments]


def change(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x40
    path.write_bytes(content)


def first_segment(folder: Path) -> Path:
    return folder / manifests.load(Files(), folder).segments[0].file_name


def test_rows_come_back_as_they_went(folder: Path) -> None:
    segment = segments(folder)[1]
    start, stop = segment.namespace_rows(b"other")
    assert (start, stop) == (0, 600) and segment.namespace_rows(b"") == (0, 0)
    ids = [b"%04d" % number for number in range(300, 900)]
    assert [segment.id(row) for row in range(600)] == ids
    np.testing.assert_array_equal(segment.vectors, VECTORS[300:900])
    assert [segment.metadata(row) for row in (0, 1, 3)] == [None, b"", METADATA]
    assert set(segment.lsns.tolist()) == {2}
    assert segment.vectors.ctypes.data % 64 == segment.norms.ctypes.data % 64 == 0


def test_codes_come_back_as_they_were_made(folder: Path) -> None:
    stored = segments(folder)[1].codes()
    assert stored is not None
    made = encode(VECTORS[300:900], Frame(stored.centre, stored.rotation), "euclidean")
    for found, expected in zip(stored[:2], made[:2], strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(stored.limits, np.array(made.limits, np.float32))


def test_ids_are_found_by_their_namespace_and_hash(folder: Path) -> None:
    segment = segments(folder)[1]
    ids = [b"0300", b"0899", b"0000", b"nobody"]
    assert segment.find(b"other", ids, hash_ids(b"other", ids)) == [0, 599, -1, -1]
    assert segment.find(b"", ids, hash_ids(b"", ids)) == [-1] * 4


def test_equal_hashes_are_told_apart_by_their_ids(folder: Path) -> None:
    segment = segments(folder)[1]
    collided = hash_ids(b"other", [b"0450"])
    assert segment.find(b"other", [b"0451"], collided) == [-1]
    assert segment.find(b"other", [b"0450"], collided) == [150]


@pytest.mark.parametrize("offset", [1, 9, 20, 26, 70, 80])
def test_rot_in_the_header_is_found_at_opening(folder: Path, offset: int) -> None:
    path = first_segment(folder)
    change(path, offset)
    with pytest.raises((DataLoss, FormatTooNew), match=path.name):
        segments(folder)


def test_a_segment_that_was_cut_is_found_at_opening(folder: Path) -> None:
    path = first_segment(folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataLoss, match=path.name):
        segments(folder)


def test_a_segment_that_is_missing_is_found_at_opening(folder: Path) -> None:
    first_segment(folder).unlink()
    with pytest.raises(DataLoss, match="missing"):
        segments(folder)


@pytest.mark.parametrize("place", ["namespaces", "checksums"])
def test_rot_in_a_small_section_is_found_at_opening(folder: Path, place: str) -> None:
    path = first_segment(folder)
    content = path.read_bytes()
    # The table of names holds only the default namespace: its last eight bytes are its end, 500.
    offset = content.index((500).to_bytes(8, "little")) if place == "namespaces" else -1
    change(path, offset)
    with pytest.raises(DataLoss, match=path.name):
        segments(folder)


def test_rot_in_vectors_is_found_by_verify_by_merges_and_for_rows_that_are_found(
    folder: Path,
) -> None:
    path = first_segment(folder)
    segment = segments(folder)[0]
    row = 400
    change(path, segment.vectors.ctypes.data - np.frombuffer(segment._view, "u1").ctypes.data)
    offset = int(path.read_bytes().index(VECTORS[row].tobytes()))
    change(path, offset + 5)
    assert path.name in verify(Files(), folder).damage
    files, manifest = Files(), manifests.load(Files(), folder)
    numbers = [entry.number for entry in manifest.segments]
    order = {"kind": "merge", "segments": numbers, "number": 99, "metric": "euclidean"}
    with pytest.raises(DataLoss, match=path.name):
        run(files, folder, DIMENSION, order)
    assert not list(folder.glob("0000000099*"))
    view = View(files, folder, manifest, DIMENSION)
    rotten = twin.QueryTwin(top_k=1, vector=VECTORS[row].tobytes())
    with pytest.raises(DataLoss, match=path.name):
        answer(view, "euclidean", rotten)


def test_a_block_of_rows_is_verified_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = segments(folder)[0]
    verified: list[int] = []
    own = segment._verify_block

    def verify_block(block: int) -> None:
        verified.append(block)
        own(block)

    monkeypatch.setattr(segment, "_verify_block", verify_block)
    segment.verify_rows(np.arange(500))
    segment.verify_rows(np.arange(500))
    expected = range(500 * 4 * DIMENSION // CHECKSUM_BLOCK_BYTES + 1)
    assert verified == list(expected)


def test_verify_says_what_is_whole_and_what_is_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder.parents[2]
    assert main(["--data", str(data)]) == 0
    assert "whole" in capsys.readouterr().out
    change(first_segment(folder), 5_000)
    assert main(["--data", str(data)]) == 1
    assert "damaged" in capsys.readouterr().out
    assert main(["--data", str(data), "--index", "nobody"]) == 2


def test_masks_are_read_back_and_their_damage_is_found(tmp_path: Path) -> None:
    bitmap = np.packbits(np.arange(21) % 3 == 0, bitorder="little")
    path = tmp_path / "mask"
    path.write_bytes(encode_mask(bitmap, 21, 7))
    np.testing.assert_array_equal(read_mask(Files(), path, 21), bitmap)
    with pytest.raises(DataLoss, match="does not fit"):
        read_mask(Files(), path, 40)
    change(path, 33)
    with pytest.raises(DataLoss, match="damaged"):
        read_mask(Files(), path, 21)


def newer(content: bytes) -> bytes:
    """The same file as a later format would begin."""
    return content[:8] + (9).to_bytes(4, "little") + content[12:]


def test_newer_formats_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    path = first_segment(folder)
    path.write_bytes(newer(path.read_bytes()))
    with pytest.raises(FormatTooNew, match=path.name):
        segments(folder)
    mask = tmp_path / "some.mask"
    mask.write_bytes(newer(encode_mask(np.zeros(1, np.uint8), 8, 0)))
    with pytest.raises(FormatTooNew, match=r"some\.mask"):
        read_mask(Files(), mask, 8)


def make_golden(folder: Path) -> None:
    """What the folders of tests/golden were made with: a small index, folded and masked.

    The segments of format 4 were then merged, with centroids for more than three rows.
    """
    small = np.arange(40, dtype=np.float32).reshape(10, 4) - 7
    request = [upsert("", 0, 6, small), upsert("ü", 4, 9, small), upsert("", 2, 4, small[::-1])]
    files = Files()
    folder.mkdir(parents=True)
    manifests.store(files, folder, Manifest())
    writer = LogWriter(files, folder, recover(files, folder, Manifest().log))
    for one in request:
        end = writer.append([one])
        manifest = manifests.load(files, folder)
        order = {"kind": "fold", "end": end, "number": manifest.next_number, "metric": "cosine"}
        manifests.store(files, folder, run(files, folder, 4, order)[0])
    for log in folder.glob("*.log"):
        log.unlink()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_indexes_of_older_formats_are_still_read(version: int) -> None:
    folder = GOLDEN / f"segment-{version}"
    view = View(Files(), folder, manifests.load(Files(), folder), 4)
    assert [(one.name.decode(), one.first) for one in view.namespaces()] == [("", 6), ("ü", 5)]
    (first, replaced, other) = (
        *view.locate(b"", [b"0000", b"0002"]),
        *view.locate("ü".encode(), [b"0008"]),
    )
    small = np.arange(40, dtype=np.float32).reshape(10, 4) - 7
    for place, row in ((first, small[0]), (replaced, small[::-1][2]), (other, small[8])):
        assert place is not None
        np.testing.assert_array_equal(place[0].segment.vectors[place[1]], row)  # type: ignore[union-attr]
    found = answer(view, "euclidean", twin.QueryTwin(vector=small[8].tobytes(), top_k=6))
    assert [one.id for one in found.matches[:3]] == [b"0002", b"0003", b"0005"]
    for part in view.parts:
        part.segment.verify()


def test_centroids_of_format_4_have_whole_codes_that_are_halved() -> None:
    folder = GOLDEN / "segment-4"
    (part,) = View(Files(), folder, manifests.load(Files(), folder), 4).parts
    stored = part.segment.clusters()
    assert stored is not None and stored.codes.shape == stored.centroids.shape
    first = 0
    for name, (_, last) in zip((b"", "ü".encode()), stored.clustered.astype(int), strict=True):
        clusters = part.clusters(*part.segment.namespace_rows(name))
        assert clusters is not None and part.codes is not None
        np.testing.assert_array_equal(clusters.centroids.vectors, stored.centroids[first:last])
        again = encode(stored.centroids[first:last], part.codes.frame, "cosine")
        np.testing.assert_array_equal(clusters.centroids.halves, halved(again.values))
        first = last
    assert first == len(stored.centroids)


def test_a_disk_is_asked_once_for_the_pages_of_rows_that_are_about_to_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = segments(folder)[1]
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("storage.segment.is_cached", lambda *_: False)
    monkeypatch.setattr(
        "storage.segment.read_ahead",
        lambda _, offset, length: asked.append((offset, offset + length)),
    )
    read = segment.ahead(Section.VECTORS, Section.CODE_FACTORS)
    assert read is not None
    read(100, 200)
    vectors, _ = segment._sections[Section.VECTORS]
    factors, length = segment._sections[Section.CODE_FACTORS]
    assert asked[0] == (vectors + 100 * 4 * DIMENSION, vectors + 200 * 4 * DIMENSION)
    # Factors are few, and lie in a page or two.
    pages = {byte // 4_096 for span in asked[1:] for byte in range(*span)}
    for first in (factors + 400, factors + length // 2 + 400):
        assert {first // 4_096, (first + 399) // 4_096} <= pages
    before = len(asked)
    read(120, 180)
    assert len(asked) == before
    read(199, 260)
    assert len(asked) > before


@pytest.mark.parametrize("count", [1, 200])
def test_a_disk_is_asked_for_where_hashes_lie_before_they_are_looked_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("storage.segment.is_cached", lambda *_: False)
    monkeypatch.setattr(
        "storage.segment.read_ahead",
        lambda _, offset, length: asked.append((offset, offset + length)),
    )
    # There are few rows: a fourth of them is still some.
    monkeypatch.setattr("storage.segment._ALL_WORTH", 4)
    for first in (300, 555, 700):
        segment = segments(folder)[1]
        start, length = segment._sections[Section.HASHES]
        asked.clear()
        ids = [b"%04d" % number for number in range(first, first + count)]
        hashes = hash_ids(b"other", ids)
        assert segment.find(b"other", ids, hashes) == list(range(first - 300, first - 300 + count))
        if count == 1:
            ((begin, end),) = asked
            place = start + 8 * int(np.searchsorted(segment._hashes, hashes)[0])
            assert begin <= place < end and end - begin < length / 4
        else:
            assert asked == [(start, start + length)]
