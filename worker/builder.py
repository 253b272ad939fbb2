"""The builder: folds a log into a segment, or merges segments into one.

It only writes new files and then tells the router the manifest that names them; the router commits it.
Whatever goes wrong, what it wrote is removed and the index is as it was.
"""

import socket
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from kernels.queries import Metric
from storage import manifest as manifests
from storage import masks, namespaces
from storage.errors import StorageError
from storage.files import Files, unwritable
from storage.log_format import Position
from storage.manifest import Manifest, next_version
from storage.segment_writer import write_segment
from torpor.internal.v1 import frames_pb2 as frames
from worker.engine import outcome_of
from worker.serve import HEADER
from worker.sources import MergedRows, TailRows
from worker.view import View


class Order(TypedDict, total=False):
    """What the router asks for."""

    kind: str  # "fold" or "merge"
    number: int  # of the files to write
    end: Sequence[int]  # fold: the Position up to which
    segments: Sequence[int]  # merge: their numbers
    metric: Metric  # what codes and centroids are made for
    exact_rows_max: int | None  # merge: namespaces with more rows get centroids


def build(
    end: socket.socket, folder: Path, dimension: int, filterable: Collection[str], order: Order
) -> None:
    """Builds as ordered and tells the router through `end`."""
    files = Files()
    built = frames.Built()
    try:
        manifest, outcomes = run(files, folder, dimension, order, filterable)
        built.manifest = manifests.encode(manifest)
        built.outcomes.extend(outcomes)
    except StorageError as error:
        built.outcome, built.message = outcome_of(error), str(error)
    except OSError as error:
        refused = unwritable(folder, error)
        built.outcome, built.message = outcome_of(refused), str(refused)
    body = built.SerializeToString()
    end.sendall(HEADER.pack(len(body), 0) + body)


def run(
    files: Files, folder: Path, dimension: int, order: Order, filterable: Collection[str] = ()
) -> tuple[Manifest, list[frames.WriteOutcome]]:
    """Writes the new files; returns the manifest that names them, and how conditional writes ended."""
    manifest = manifests.load(files, folder)
    try:
        view = View(files, folder, manifest, dimension, filterable)
        if order["kind"] == "fold":
            built = _fold(files, folder, view, order)
        else:
            built = _merge(files, folder, view, order)
    except BaseException:
        for name in files.list_folder(folder):
            if name.startswith(f"{order['number']:010d}") and not name.endswith(".log"):
                files.unlink(folder / name)
        raise
    return built, list(view.outcomes.values())


def _fold(files: Files, folder: Path, view: View, order: Order) -> Manifest:
    number = order["number"]
    view.catch_up(Position(*order["end"]))
    entries = []
    for entry, part in zip(view.manifest.segments, view.parts, strict=True):
        if part.dead_rows == entry.rows:
            continue
        if part.changed:
            assert part.dead is not None
            name = masks.file_name(number, entry.number)
            bitmap = masks.encode_mask(part.dead, entry.rows, part.dead_rows)
            files.write_new(folder / name, [bitmap])
            entry = replace(entry, mask=name, dead=part.dead_rows)
        entries.append(entry)
    source = TailRows(view, order["metric"])
    if source.count:
        entries.append(write_segment(files, folder, number, source))
    directory = namespaces.file_name(number)
    files.write_new(folder / directory, [view.encode_namespaces()])
    return next_version(
        view.manifest, log=view.position, namespaces=directory, segments=tuple(entries)
    )


def _merge(files: Files, folder: Path, view: View, order: Order) -> Manifest:
    numbers, number = order["segments"], order["number"]
    parts = [part for part in view.parts if part.number in numbers]
    for part in parts:
        part.segment.verify()
    entries = [entry for entry in view.manifest.segments if entry.number not in numbers]
    source = MergedRows(parts, view.dimension, order["metric"])
    exact_rows_max = order.get("exact_rows_max")
    if exact_rows_max is not None:
        source.cluster(exact_rows_max)
    if source.count:
        entries.append(write_segment(files, folder, number, source))
    for part in parts:
        files.forget(part.segment.path)
    return next_version(view.manifest, segments=tuple(entries))
