"""What to measure a difference by whose error comes from many items and few seeds.

A normal distribution would be too narrow: of three seeds a side, the spread is known to four degrees of freedom. A
t distribution with two degrees would be too wide where the seeds hardly matter. The quantile lies between those of the
two parts, by the seeds' share of the variance. Cochran and Cox (Experimental Designs, 1957, section 4.14) weigh by
the share itself, which covers 97 to 99 %; Satterthwaite's degrees of freedom (Biometrics 2, 1946) follow the squared
share, and reject too often in the far tail, which Holm's method looks at, where seeds dominate one trained side. The
power of 1.25 between the two was chosen by simulation: with three to five seeds a side, 95 % intervals cover 94 to
98 %. With two seeds of a single trained side the share itself is taken: then they cover 93 to 99 %.
"""

import math
from dataclasses import dataclass

from scipy import special

SHARE_POWER = 1.25
FEW_DF = 2
"""With fewer degrees of freedom than this, the share itself is the weight."""
HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Reference:
    """A distribution between two t distributions, symmetric around 0."""

    item_df: float
    """Degrees of freedom of the error from items."""
    seed_df: float = math.inf
    """Degrees of freedom of the error from seeds."""
    seed_share: float = 0.0
    """The seeds' share of the variance, before interaction with the items is taken off."""

    def quantile(self, tail: float) -> float:
        """The value that is exceeded with this probability."""
        if not 0 < tail < 1:
            return math.inf if tail <= 0 else -math.inf
        of_items = -float(special.stdtrit(self.item_df, tail))
        if self.seed_share <= 0:
            return of_items
        weight = math.pow(self.seed_share, SHARE_POWER if self.seed_df >= FEW_DF else 1)
        return (1 - weight) * of_items - weight * float(special.stdtrit(self.seed_df, tail))

    def tail(self, value: float) -> float:
        """The probability of a larger value."""
        if self.seed_share <= 0:
            return float(special.stdtr(self.item_df, -value))
        if value < 0:
            return 1 - self.tail(-value)
        # The quantile falls as the tail grows: halve the range of the tail's logarithm until it is found.
        low, high = math.log(1e-300), math.log(0.5)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.quantile(math.exp(middle)) > value else (low, middle)
        return math.exp((low + high) / 2)

    def two_sided(self, value: float) -> float:
        """The probability of a value at least as far from 0."""
        return min(1.0, 2 * self.tail(abs(value)))
