"""MeasureRecall: a worker measures a few samples at a time, and answers others in between."""

import math
import secrets
import statistics
from collections.abc import Sequence

from router.call import Call, Reply
from router.errors import InvalidArgument
from router.plane import Plane, read_metadata
from router.validate import check_namespace, parse
from router.validate_data import check_filter, check_scan_factor
from storage import limits
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data

# Standard deviations of a normal distribution that hold 95 %.
_Z = 1.96


class Recall:
    """What its method does is said in data.proto."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def measure(self, body: bytes, call: Call) -> Reply:
        request = parse(data.MeasureRecallRequest, body)
        with await self._plane.index(request.index, call) as live:
            if not live.row.dimension:
                raise InvalidArgument(
                    f"Index {live.name!r} is sparse: all of its answers are exact, their recall is 1."
                )
            query, samples = _check(request)
            seed = request.seed if request.HasField("seed") else secrets.randbits(32)
            found: list[frames.Recall] = []
            while True:
                question = frames.RecallRequest(
                    query=query.SerializeToString(), seed=seed, start=len(found), stop=samples
                )
                encoded = question.SerializeToString()
                answer = await self._plane.ask(live, frames.WORK_KIND_RECALL, encoded, call)
                some = frames.Recalls.FromString(answer.response)
                found += some.recalls
                if not some.recalls or len(found) >= samples:
                    break
        response = data.MeasureRecallResponse(samples=len(found), records=some.records, seed=seed)
        if found:
            recalls = [one.recall for one in found]
            response.recall = statistics.fmean(recalls)
            response.recall_low, response.recall_high = interval(recalls, query.top_k)
            response.exact = sum(one.exact for one in found)
            response.approximate_ms = statistics.median(one.approximate_ms for one in found)
            response.exact_ms = statistics.median(one.exact_ms for one in found)
        return Reply(response.SerializeToString(), read_metadata(answer))


def interval(recalls: Sequence[float], k: int) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of recalls, each of `k` neighbours.

    Wilson's score interval, which says something where all recalls are 1 as well. Neighbours of one
    record are not independent trials: there are as many as explain the variance of the recalls, at
    least one and at most k for each record.
    """
    count, mean = len(recalls), statistics.fmean(recalls)
    variance = statistics.pvariance(recalls)
    trials = count * (min(k, max(1.0, mean * (1 - mean) / variance)) if variance else 1.0)
    middle = mean + _Z**2 / (2 * trials)
    reach = _Z * math.sqrt(mean * (1 - mean) / trials + _Z**2 / (4 * trials**2))
    scale = 1 + _Z**2 / trials
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def _check(request: data.MeasureRecallRequest) -> tuple[twin.QueryTwin, int]:
    """The query that is asked for each sample, and how many samples; raises InvalidArgument."""
    check_namespace(request.namespace.encode())
    top_k = request.top_k if request.HasField("top_k") else limits.RECALL_TOP_K_DEFAULT
    samples = request.samples if request.HasField("samples") else limits.RECALL_SAMPLES_DEFAULT
    for name, value, largest in (
        ("top_k", top_k, limits.RECALL_TOP_K_MAX),
        ("samples", samples, limits.RECALL_SAMPLES_MAX),
    ):
        if not 1 <= value <= largest:
            raise InvalidArgument(f"{name} is {value}; it must be 1 to {largest}.")
    check_scan_factor(request)
    query = twin.QueryTwin(namespace=request.namespace.encode(), top_k=top_k)
    if request.HasField("scan_factor"):
        query.scan_factor = request.scan_factor
    if request.HasField("max_candidates"):
        if not top_k < request.max_candidates <= limits.CANDIDATES_MAX:
            raise InvalidArgument(
                f"max_candidates is {request.max_candidates}; it must be above top_k and at most "
                f"{limits.CANDIDATES_MAX}."
            )
        query.max_candidates = request.max_candidates
    encoded = request.filter.SerializeToString()
    if check_filter(encoded):
        query.filter = encoded
    return query, samples
