"""Which segments to merge: few segments, and few bytes written over and over."""

from storage.limits import DEAD_SHARE_MAX, EXACT_CODE_BYTES_MAX, SEGMENTS_MAX
from storage.manifest import Manifest


def merge_choice(manifest: Manifest, exact_rows_max: int | None = None) -> tuple[int, ...] | None:
    """The numbers of the segments to merge into one, None if all is well.

    Above the bound on segments, the smallest are merged: as many as grow the result at least by half
    with each step, so that a row is rewritten about log(rows) times. Otherwise a segment with too
    many dead rows is rewritten alone, and so is one with a namespace of more than `exact_rows_max` rows
    that have no centroids: a fold of a log never makes any, a merge always does.
    """
    by_size = sorted(manifest.segments, key=lambda entry: entry.rows - entry.dead)
    if len(by_size) > SEGMENTS_MAX:
        chosen = by_size[:2]
        total = sum(entry.rows - entry.dead for entry in chosen)
        for entry in by_size[2:]:
            if entry.rows - entry.dead > 2 * total:
                break
            chosen.append(entry)
            total += entry.rows - entry.dead
        return tuple(entry.number for entry in chosen)
    for entry in by_size:
        if entry.dead > DEAD_SHARE_MAX * entry.rows:
            return (entry.number,)
        if exact_rows_max is not None and entry.unclustered > exact_rows_max:
            return (entry.number,)
    return None


def exact_rows_max(setting: int, dimension: int) -> int | None:
    """Up to how many rows a namespace has no centroids; None: however many, for there are no vectors.

    setting: what the server is told, 0 for the default
    """
    return (setting or EXACT_CODE_BYTES_MAX // dimension) if dimension else None
