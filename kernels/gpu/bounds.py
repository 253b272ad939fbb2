"""What rounding can do on a graphics card.

Tensor cores multiply numbers of fewer bits, exactly, and add the products in float32. So an estimate of
q.x / |q| is wrong for three reasons, bounded one by one; u = 2^-24, d the dimension.

*Inputs.* Each value v is used as v', |v' - v| <= r |v| + a:

    format    r        a
    f16       2^-11    2^-25     rounded to nearest; a is half the smallest subnormal
    tf32      2^-10    2^-126    cut off, since cards need not round; what is subnormal may become zero

A row is then wrong by |x' - x| <= r |x| + a sqrt(d). A unit query is rounded to float32 first, and
is wrong by r + 2 u + a sqrt(d).

*Sums.* Products of two such values are exact in float32 but for those that underflow, by at most
2^-126 each. A tensor core adds m >= 2 of them to a sum at once, all shifted to the largest exponent and
cut off there, and the result once more (Fasi, Higham, Mikaitis, Pranesh, Numerical behavior of NVIDIA
tensor cores, 2021): each of these loses at most 2 u times the largest number, which |q'| |x'| bounds.
They are d products, and a sum and a result for each step, 2 d + 2 at most. With the sums of parts that
were made apart, never more than d of them, s = 5 (d + 1) u bounds it, and s / (1 - s) what the errors do
to each other. Cards without tensor cores add as `kernels.bounds` says, and stay far below.

*The rest* is the arithmetic of float32 on the estimate, as in `numpy_backend.py`.
"""

import math
from enum import Enum

from kernels.bounds import EXACT_UNIT, UNIT, in_range
from kernels.queries import Queries
from kernels.rows import Rows

_SMALLEST_NORMAL = 2.0**-126
# The largest float16 is 65,504.
_F16_NORM_MAX = 6e4


class Format(Enum):
    """What vectors are on a card; the value is (r, a) of the table above."""

    F16 = (2.0**-11, 2.0**-25)
    TF32 = (2.0**-10, _SMALLEST_NORMAL)

    @property
    def value_bytes(self) -> int:
        """Bytes of one value."""
        return 2 if self is Format.F16 else 4


def format_of(rows: Rows) -> Format:
    """The cheapest format in which these rows can be told apart.

    float16 while no value can overflow and subnormals lose no more than rounding does.
    """
    relative, absolute = Format.F16.value
    lost = absolute * math.sqrt(rows.vectors.shape[1])
    fits = rows.norm_max <= _F16_NORM_MAX and lost <= relative * rows.norm_min
    return Format.F16 if fits else Format.TF32


def estimate_error(rows: Rows, queries: Queries, number: int, form: Format) -> float:
    """A bound on |estimate - exact| for every row, in the estimate's own units (see device.Selection).

    Infinite where float32 is out of its range.
    """
    norm = float(queries.norms[number])
    largest, smallest = rows.norm_max, rows.norm_min
    if not in_range(smallest, largest, norm):
        return math.inf
    dimension = queries.vectors.shape[1]
    if queries.metric == "dotproduct":
        error = _product_error(dimension, largest, form)
    elif queries.metric == "cosine":
        # A product's error is a part of the norm and a constant: over the norm, the smallest has the
        # largest. The norm is rounded once, the division once more; |estimate| is about 1 at most.
        error = _product_error(dimension, smallest, form) / smallest + 8 * UNIT
    else:
        cross = 2 * norm * largest
        error = 2 * norm * _product_error(dimension, largest, form)
        # |x|^2 from a rounded norm is off by 3u, the sum and the factor by a few u of their size.
        error += 8 * UNIT * (cross + largest * largest) + _SMALLEST_NORMAL
        # The exact score's own rounding: it sums |q|^2 in, which the estimate leaves out.
        error += (dimension + 4) * EXACT_UNIT * (norm + largest) ** 2
    # The bound itself is a handful of float64 operations; a thousandth more covers them.
    return 1.001 * error


def _product_error(dimension: int, norm: float, form: Format) -> float:
    """A bound on the error of a unit query's product with a row of this norm."""
    relative, absolute = form.value
    floor = absolute * math.sqrt(dimension)
    row_lost = relative * norm + floor
    query_lost = relative + 2 * UNIT + floor
    used = norm + row_lost
    share = 5 * (dimension + 1) * UNIT
    sums = share / (1 - share) * (1 + query_lost) * used
    return row_lost + query_lost * used + sums + 2 * dimension * _SMALLEST_NORMAL
