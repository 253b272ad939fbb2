"""What compiling and evaluating a filter costs, warm and first after a wake; a process of its own.

`python -m bench.evaluate FOLDER FILTER COUNT` prints {"first ms": [...], "warm ms": [...], "rows": n}.
Like a zygote it imports everything, warms up, and forks a child for each wake: fresh maps, files in the
page cache.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.struct_pb2 import Struct

from storage import filters
from storage import manifest as manifests
from storage.files import Files
from worker.selection import Mask, RowList
from worker.view import View
from worker.zygote import warm_up

_WARM = 20


def _measure(folder: Path, encoded: bytes) -> dict[str, Any]:
    """What one awake worker would see."""
    files = Files()
    manifest = manifests.load(files, folder)
    view = View(files, folder, manifest, _dimension(files, folder, manifest))
    samples, rows = [], 0
    for _ in range(1 + _WARM):
        filters.parse.cache_clear()
        began = time.perf_counter()
        one = filters.parse(encoded)
        assert one is not None
        chosen = [part.select(one, 0, part.segment.rows) for part in view.parts]
        samples.append((time.perf_counter() - began) * 1e3)
        rows = sum(_count(*one_part) for one_part in chosen)
    return {"first": samples[0], "warm": samples[1:], "rows": rows}


def _count(listed: RowList | None, mask: Mask | None) -> int:
    if listed is not None:
        return len(listed)
    return 0 if mask is None else int(np.count_nonzero(mask))


def _dimension(files: Files, folder: Path, manifest: manifests.Manifest) -> int:
    from storage.segment import Segment

    return Segment(files, folder, manifest.segments[0]).dimension


def _forked(folder: Path, encoded: bytes) -> dict[str, Any]:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        with os.fdopen(write_end, "w") as out:
            json.dump(_measure(folder, encoded), out)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as found:
        measured: dict[str, Any] = json.load(found)
    os.waitpid(child, 0)
    return measured


def main() -> None:
    """Measures and prints."""
    folder, one, count = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    struct = Struct()
    struct.update(one)
    warm_up()
    gc.freeze()
    found = [_forked(folder, struct.SerializeToString()) for _ in range(count)]
    json.dump(
        {
            "first ms": [wake["first"] for wake in found],
            "warm ms": [sample for wake in found for sample in wake["warm"]],
            "rows": found[0]["rows"],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
