"""May a primary that hands over keep its role label for a moment? Pure.

Its server has stopped and refuses every client at once, who then comes again. If it left `-rw` before its successor is
there, `-rw` would be empty: an empty Service refuses six attempts and then one a second (the kernel's limit for ICMP),
and kube-proxy may add the successor a second later, since it has just carried out another change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_SECONDS = 5.0  # a switchover takes one or two


def may_stay(me: str, role_of: Mapping[str, str | None], primary: str, seconds: float) -> bool:
    """Whether it bears the label, as the only one, and has not done so for too long since its server stopped."""
    return [name for name, role in role_of.items() if role == primary] == [me] and seconds < LONGEST_SECONDS
