"""Fair shares of a common limit.

With fixed shares of a quarter, four holders would leave nothing for a fifth. Therefore a share is a part of what the
*others* leave: with 25 %, a single holder may use a quarter, a second one a quarter of the other three quarters, and so
on. However much a few use, there is room for those that hold nothing yet (the dynamic thresholds of Choudhury and Hahne
for the buffers of switches, IEEE/ACM Transactions on Networking 6(2), 1998).
"""

from __future__ import annotations


def room(ceiling: int, total: int, own: int, percent: int, unit: int = 1) -> int:
    """Return how many more things of size `unit` one holder may have.

    All holders together use `total` of the ceiling, this one `own` of it. It may use up to `percent` (1 to 100) of what
    the others leave. A holder of nothing may have one thing wherever that fits.
    """
    left = ceiling - total
    more = ((left + own) * percent // 100 - own) // unit
    if more > 0:
        return more
    return int(own == 0 and left >= unit)
