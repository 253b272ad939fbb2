"""Measuring recall: stored records ask for their neighbours, approximately and exactly."""

import time

import numpy as np

from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from worker.part import Part
from worker.search import Match, Question, Searcher
from worker.tail import Tail
from worker.view import View, stored_name, vector_of, verify

# After so long no further sample is begun: others wait.
_SECONDS_MAX = 0.05
# Of a segment at most a quarter is dead until it is merged; a namespace in it may be dead as a whole.
_DRAWS_MAX = 1_000

Place = tuple[Part | Tail, int]


def measure(view: View, searcher: Searcher, request: frames.RecallRequest) -> frames.Recalls:
    """The recalls of the first samples that are asked for.

    Raises Interrupted, DataLoss, or Unfilterable.
    """
    query = twin.QueryTwin.FromString(request.query)
    name = stored_name(query.namespace)
    count = view.count(name)
    answer = frames.Recalls(records=0 if count is None else count.first)
    began = time.perf_counter()
    for number in range(request.start, request.stop):
        drawn = _draw(view, name, np.random.default_rng((request.seed, number)))
        if drawn is None:
            break
        answer.recalls.append(_compare(searcher, query, name, drawn))
        if time.perf_counter() - began > _SECONDS_MAX:
            break
    return answer


def _draw(view: View, name: bytes, random: np.random.Generator) -> Place | None:
    """A live record of a namespace, each as likely as any other; None where none is found."""
    places: list[tuple[Part | Tail, int, int]] = [
        (part, *part.segment.namespace_rows(name)) for part in view.parts
    ]
    if name in view.tails:
        places.append((view.tails[name], 0, len(view.tails[name].ids)))
    firsts = np.cumsum([0, *(stop - start for _, start, stop in places)])
    for _ in range(_DRAWS_MAX if firsts[-1] else 0):
        number = int(random.integers(firsts[-1]))
        slot = int(np.searchsorted(firsts, number, side="right")) - 1
        place, start, stop = places[slot]
        row = start + number - int(firsts[slot])
        rows = place.rows(start, stop) if isinstance(place, Part) else place.rows()
        if rows.alive(np.array([row]))[0]:
            return place, row
    return None


def _compare(searcher: Searcher, query: twin.QueryTwin, name: bytes, place: Place) -> frames.Recall:
    """Asks both ways for the neighbours of a record, which is not one of them."""
    verify([place])
    asked = twin.QueryTwin()
    asked.CopyFrom(query)
    asked.vector = vector_of(*place).tobytes()
    # Itself, and as many others.
    asked.top_k = query.top_k + 1
    near, near_ms, exact = _ask(searcher, asked, name, place)
    asked.exact = True
    truth, truth_ms, _ = _ask(searcher, asked, name, place)
    # Best first: of records that score the same, any will do.
    scores = [match.score for match in truth[: query.top_k]]
    found = [match.score for match in near[: query.top_k]]
    missed = len(scores) - sum(one in scores for one in found)
    recall = 1 - missed / len(scores) if scores else 1.0
    return frames.Recall(recall=recall, exact=exact, approximate_ms=near_ms, exact_ms=truth_ms)


def _ask(
    searcher: Searcher, query: twin.QueryTwin, name: bytes, place: Place
) -> tuple[list[Match], float, bool]:
    """The others that were found, best first, the milliseconds it took, and whether that is exact."""
    question = Question(query)
    began = time.perf_counter()
    searcher.run(name, [question])
    took_ms = (time.perf_counter() - began) * 1e3
    sign = 1.0 if searcher.metric == "euclidean" else -1.0
    found = [match for match in question.found if (match.place, match.row) != place]
    found.sort(key=lambda match: (sign * match.score, match.id))
    return found, took_ms, question.exact
