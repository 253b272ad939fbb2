"""What rounding can do: the constants behind every bound.

A product of d float32 terms summed in any order is off by at most g |q| |x|, with u = 2^-24 and
g = d u / (1 - d u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), plus
the underflow of each term.
"""

UNIT = 2.0**-24
EXACT_UNIT = 2.0**-52
TINY = 2.0**-149
# Within these norms float32 neither overflows nor loses more than the bounds say.
_NORM_SAFE_MAX = 1e18
_NORM_SAFE_MIN = 1e-18


def product_factor(dimension: int) -> float:
    """g, the relative error of a product in float32."""
    return dimension * UNIT / (1 - dimension * UNIT)


def in_range(smallest: float, largest: float, query: float) -> bool:
    """Whether float32 is safe for rows of norms between these and a query of this norm."""
    return _NORM_SAFE_MIN <= smallest <= largest <= _NORM_SAFE_MAX and query <= _NORM_SAFE_MAX
