"""Asking a view without a server, and metadata by hand: for tests of storage and of workers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.struct_pb2 import Struct

from kernels.queries import Metric
from torpor.internal.v1 import twin_pb2 as twin
from worker.backends import choose_backend
from worker.search import Question, Searcher, response
from worker.view import View


def struct(fields: Mapping[str, Any]) -> bytes:
    """The wire bytes of a google.protobuf.Struct."""
    made = Struct()
    made.update(dict(fields))
    return made.SerializeToString()


def packed(vector: Sequence[float]) -> bytes:
    """A vector as twin messages have it."""
    return np.array(vector, np.float32).tobytes()


def answer(view: View, metric: Metric, request: twin.QueryTwin) -> twin.QueryResponseTwin:
    """What a worker answers to a query."""
    question = Question(request)
    searcher = Searcher(view, choose_backend(threads=1), metric, lambda: True)
    for namespace in question.namespaces:
        searcher.run(namespace, [question])
    return response(question, metric)
