"""How a ceiling that many hold together is shared out.

With fixed shares of a quarter, four holders would leave nothing for a fifth. So a share is a part of what the *others*
leave: alone, with 25 %, one may hold a quarter, a second one a quarter of the other three quarters, and so on. However
much a few want, there is room for who holds nothing yet (the dynamic thresholds of Choudhury and Hahne for the buffers
of switches, IEEE/ACM Transactions on Networking 6(2), 1998).
"""

from __future__ import annotations


def room(ceiling: int, total: int, own: int, percent: int, unit: int = 1) -> int:
    """How many more things of `unit` each one holder may have of a ceiling, of which all together hold `total` and it
    holds `own`: up to `percent` (1 to 100) of what the others leave. Who holds nothing may have one wherever it fits.
    """
    left = ceiling - total
    more = ((left + own) * percent // 100 - own) // unit
    if more > 0:
        return more
    return int(own == 0 and left >= unit)
