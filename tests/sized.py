"""How many examples the searches for bad input look at.

``HUT_SIMULATION_EXAMPLES`` is a factor. With 1, the default, they are the same in every run, so that
nobody's change fails for what another one did; with more, they are new ones each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

__all__ = ["FACTOR", "sized"]

FACTOR = int(os.environ.get("HUT_SIMULATION_EXAMPLES", "1"))


def sized(examples: int, *, shrinks: bool = True) -> settings:
    """Return settings for a search that looks at `examples` times the factor, judged by no clock.

    Parameters
    ----------
    shrinks
        Look for a smaller example of a failure; where each takes long, that would take very long.
    """
    phases = (Phase.explicit, Phase.generate, Phase.shrink, Phase.explain)
    return settings(
        deadline=None,
        max_examples=examples * FACTOR,
        derandomize=FACTOR == 1,
        database=None,
        phases=phases if shrinks else phases[:2],
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
