"""Sparse values between the wire and the kernels."""

import numpy as np

from kernels.sparse import SparseVector
from torpor.v1 import data_pb2 as data


def decode(encoded: bytes) -> SparseVector:
    """The SparseValues in `encoded`."""
    message = data.SparseValues.FromString(encoded)
    return SparseVector(np.array(message.indices, np.uint32), np.array(message.values, np.float32))
