"""Merges lay the codes of large namespaces around centroids; everything else of a segment stays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kernels.bit_codes import encode_bits
from kernels.centroids import centroids_for
from kernels.closeness import halved
from kernels.codes import encode
from storage import manifest as manifests
from storage.files import Files
from storage.manifest import Manifest, SegmentEntry
from storage.tiers import exact_rows_max, merge_choice
from tests.queries import answer
from tests.unit.test_segment import DIMENSION, VECTORS, folded, upsert
from torpor.internal.v1 import twin_pb2 as twin
from worker.builder import run
from worker.part import Part
from worker.view import View


def merged(folder: Path, *numbers: int, bound: int | None = 250) -> list[Part]:
    """The parts after a merge of these segments, by default of all."""
    files = Files()
    manifest = manifests.load(files, folder)
    chosen = list(numbers) or [entry.number for entry in manifest.segments]
    order = {"kind": "merge", "segments": chosen, "number": manifest.next_number}
    order |= {"metric": "euclidean", "exact_rows_max": bound}
    manifests.store(files, folder, run(files, folder, DIMENSION, order)[0])
    return View(files, folder, manifests.load(files, folder), DIMENSION).parts


def fold(folder: Path, *batches: object) -> None:
    """Adds segments to an index: as `folded`, where one is already."""
    files = Files()
    manifest = manifests.load(files, folder)
    folded(folder.parent / f"{folder.name}-more", *batches)
    more = manifests.load(files, folder.parent / f"{folder.name}-more")
    entries = list(manifest.segments)
    for entry in more.segments:
        number = manifest.next_number + entry.number
        (folder.parent / f"{folder.name}-more" / entry.file_name).rename(
            folder / f"{number:010d}.segment"
        )
        entries.append(replace(entry, number=number))
    following = replace(
        manifest, version=manifest.version + 1, next_number=100, segments=tuple(entries)
    )
    manifests.store(files, folder, following)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One segment: 500 rows of the default namespace, 20 of "few", 300 of "more"."""
    index = tmp_path / "index"
    folded(index, upsert("", 0, 500), upsert("few", 0, 20), upsert("more", 300, 600))
    return index


def test_a_fold_makes_no_centroids_and_says_so(folder: Path) -> None:
    manifest = manifests.load(Files(), folder)
    assert [entry.unclustered for entry in manifest.segments] == [500, 20, 300]
    view = View(Files(), folder, manifest, DIMENSION)
    assert all(part.segment.clusters() is None for part in view.parts)


def test_rows_stay_where_they_are_and_their_codes_lie_by_centroid(folder: Path) -> None:
    (part,) = merged(folder)
    (entry,) = manifests.load(Files(), folder).segments
    assert entry.unclustered == 20
    segment, codes = part.segment, part.codes
    segment.verify()
    assert codes is not None and codes.order is not None and codes.places is not None
    np.testing.assert_array_equal(np.sort(codes.order), np.arange(820))
    np.testing.assert_array_equal(codes.places[codes.order], np.arange(820))
    expected = np.concatenate([VECTORS[:500], VECTORS[:20], VECTORS[300:600]])
    np.testing.assert_array_equal(segment.vectors, expected)
    own = codes.of_rows(np.arange(820))
    again = encode(expected, codes.frame, "euclidean")
    np.testing.assert_array_equal(own.values, again.values)
    np.testing.assert_array_equal(own.factors, again.factors)
    for name, rows in ((b"", 500), (b"more", 300)):
        start, stop = segment.namespace_rows(name)
        clusters = part.clusters(start, stop)
        assert clusters is not None
        assert len(clusters.ends) == centroids_for(rows, DIMENSION) and clusters.ends[-1] == stop
        np.testing.assert_array_equal(
            np.sort(codes.order[start:stop]), np.arange(start, stop, dtype=np.uint32)
        )
        around = clusters.centroids.vectors[clusters.closest(np.arange(start, stop))]
        far = ((expected[start:stop, None] - clusters.centroids.vectors) ** 2).sum(axis=2)
        to_own = ((expected[start:stop] - around) ** 2).sum(axis=1)
        np.testing.assert_allclose(to_own, far.min(axis=1), rtol=1e-4)
        coded = encode(clusters.centroids.vectors, codes.frame, "euclidean")
        np.testing.assert_array_equal(clusters.centroids.halves, halved(coded.values))
        np.testing.assert_array_equal(clusters.centroids.factors, coded.factors)
        assert part.clusters(start, stop) is clusters
    few = segment.namespace_rows(b"few")
    assert part.clusters(*few) is None
    np.testing.assert_array_equal(codes.order[slice(*few)], np.arange(*few))


def test_rows_around_centroids_have_one_bit_codes_where_there_are_dimensions_enough(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = merged(folder)
    assert part.segment.bit_codes() is None
    monkeypatch.setattr("worker.sources.DIMENSION_MIN", DIMENSION)
    (part,) = merged(folder)
    part.segment.verify()
    assert part.codes is not None and part.codes.order is not None
    for name in (b"", b"more"):
        start, stop = part.segment.namespace_rows(name)
        clusters = part.clusters(start, stop)
        assert clusters is not None and clusters.bits is not None
        rows = part.codes.order[start:stop].astype(np.int64)
        expected = encode_bits(
            part.segment.vectors[rows],
            clusters.centroids.vectors[clusters.closest(rows)],
            part.codes.frame,
            "euclidean",
        )
        np.testing.assert_array_equal(clusters.bits.records[start:stop], expected)
    stored = part.segment.bit_codes()
    assert stored is not None and not stored[slice(*part.segment.namespace_rows(b"few"))].any()


def test_centroids_are_kept_while_they_fit_and_made_anew_when_outgrown(folder: Path) -> None:
    (part,) = merged(folder, bound=400)
    first = part.clusters(0, 500)
    assert first is not None
    fold(folder, upsert("", 500, 620))
    (part,) = merged(folder, bound=400)
    kept = part.clusters(0, 620)
    assert kept is not None
    np.testing.assert_array_equal(kept.centroids.vectors, first.centroids.vectors)
    # Rows that were there before lie around the same ones, and the new ones around the closest.
    for row in (0, 250, 499, 500, 619):
        far = ((kept.centroids.vectors - VECTORS[row]) ** 2).sum(axis=1)
        assert far[kept.closest(np.array([row]))[0]] == pytest.approx(far.min(), rel=1e-4)


def test_a_namespace_that_has_shrunk_below_the_bound_lies_by_row_again(folder: Path) -> None:
    (part,) = merged(folder)
    assert part.clusters(0, 500) is not None
    (part,) = merged(folder, bound=600)
    assert part.segment.clusters() is None and part.codes is not None
    assert part.codes.order is None
    (entry,) = manifests.load(Files(), folder).segments
    assert entry.unclustered == 500


def test_a_merge_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(one.name for one in folder.iterdir())

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("worker.clustering.train", fail)
    with pytest.raises(MemoryError):
        merged(folder)
    assert sorted(one.name for one in folder.iterdir()) == before


def test_answers_are_the_same_before_and_after(folder: Path) -> None:
    def ask(number: int) -> bytes:
        view = View(Files(), folder, manifests.load(Files(), folder), DIMENSION)
        request = twin.QueryTwin(top_k=7, vector=VECTORS[number].tobytes(), exact=True)
        return answer(view, "euclidean", request).SerializeToString()

    before = [ask(number) for number in range(0, 900, 90)]
    merged(folder)
    assert [ask(number) for number in range(0, 900, 90)] == before


def test_a_segment_without_the_centroids_that_it_should_have_is_merged_alone_and_once() -> None:
    large, small = SegmentEntry(1, 10, 5_000, unclustered=4_000), SegmentEntry(2, 10, 50)
    manifest = Manifest(segments=(large, small))
    assert merge_choice(manifest, 3_000) == (1,)
    assert merge_choice(manifest, 4_000) is None and merge_choice(manifest, None) is None
    done = Manifest(segments=(replace(large, unclustered=3_000), small))
    assert merge_choice(done, 3_000) is None


def test_the_bound_is_about_a_hundred_megabytes_of_codes() -> None:
    assert exact_rows_max(0, 384) == 260_416
    assert exact_rows_max(5_000, 384) == 5_000
    assert exact_rows_max(5_000, 0) is None
