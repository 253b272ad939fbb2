"""Whether paired measurements of two commits differ by more than they scatter."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Less than this is not worth a word, whatever the noise.
_TOLERANCE = 1.10
# A difference counts where it is so many standard errors, and where the rounds agree on its direction
# as they would by chance in one of forty comparisons: of ten rounds, one may disagree.
_ERRORS = 3.0
_CHANCE = 0.025
ROUNDS_MIN = 7
# The scatter of a normal distribution by its median absolute deviation, and the standard error of a
# median by that of a mean.
_MAD = 1.4826
_MEDIAN = 1.2533
# A ratio cannot be told more exactly than this, however alike a few rounds came out.
_NOISE_MIN = 0.01


@dataclass(frozen=True)
class Verdict:
    """What is said of one figure: the median ratio, and the rounds' own range."""

    ratio: float
    lowest: float
    highest: float
    rounds: int
    error: float
    chance: float

    @property
    def slower(self) -> bool:
        """By more than tolerance and noise."""
        return self.ratio > _TOLERANCE and self._beyond_noise

    @property
    def faster(self) -> bool:
        """Likewise."""
        return self.ratio < 1 / _TOLERANCE and self._beyond_noise

    @property
    def _beyond_noise(self) -> bool:
        return abs(math.log(self.ratio)) > _ERRORS * self.error and self.chance < _CHANCE

    @property
    def word(self) -> str:
        """For a table."""
        return "slower" if self.slower else "faster" if self.faster else ""


def verdict(ratios: Sequence[float]) -> Verdict:
    """Of the ratios of rounds in which both were measured; logarithms, so that 2 and 1/2 weigh alike."""
    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.median(logs)
    deviation = statistics.median(abs(one - middle) for one in logs)
    error = max(_NOISE_MIN, _MEDIAN * _MAD * deviation / math.sqrt(len(logs)))
    chance = _chance(len(logs), sum(one > 0 for one in logs))
    return Verdict(math.exp(middle), min(ratios), max(ratios), len(ratios), error, chance)


def _chance(rounds: int, above: int) -> float:
    """How often a fair coin, thrown so many times, is as one-sided as this."""
    fewer = min(above, rounds - above)
    ways = sum(math.comb(rounds, number) for number in range(fewer + 1))
    return min(1.0, math.ldexp(ways, 1 - rounds))
