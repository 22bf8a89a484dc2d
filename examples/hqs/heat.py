"""Three tasks of a program: a rod is described, its heat spreads, the result is held against theory.

Only the standard library and `hut.task` are used. The documents flow from task to task; each is checked
against the schema that its type makes.
"""

from __future__ import annotations

import math
import time

from pydantic import BaseModel, Field

from hut.task import main, task


class Wish(BaseModel):
    """What is to be computed."""

    points: int = Field(ge=3, le=2000)
    until: float = Field(gt=0, le=1)


class Rod(BaseModel):
    """A rod of length 1 whose ends are kept at 0, with the temperature at its points."""

    temperatures: list[float]
    until: float


class Result(BaseModel):
    """How warm the rod is in the end."""

    rod: Rod
    steps: int


class Verdict(BaseModel):
    """How far the computed temperatures are from the exact ones."""

    worst_error: float
    is_good: bool


@task(version="1.0", provisioning={"timeout": 60})
def describe(wish: Wish) -> Rod:
    """Describe a rod that is as warm as half a sine."""
    last = wish.points - 1
    return Rod(
        temperatures=[math.sin(math.pi * n / last) for n in range(wish.points)], until=wish.until
    )


@task(version="1.0", provisioning={"vcpu": 1, "memory": 256, "timeout": 120})
def spread(rod: Rod) -> Result:
    """Let the heat spread: explicit steps of the heat equation, short enough to be stable."""
    began = time.monotonic()
    now = list(rod.temperatures)
    width = 1 / (len(now) - 1)
    steps = math.ceil(rod.until / (0.4 * width**2))
    share = rod.until / steps / width**2
    for _ in range(steps):
        inner = [
            here + share * (left - 2 * here + right)
            for left, here, right in zip(now, now[1:], now[2:], strict=False)
        ]
        now = [0.0, *inner, 0.0]
    print(f"{steps:,} steps in {time.monotonic() - began:.2f} s")
    return Result(rod=Rod(temperatures=now, until=rod.until), steps=steps)


@task(version="1.0")
def compare(rod: Rod) -> Verdict:
    """Hold the temperatures against the exact solution: the half sine, fading."""
    fading = math.exp(-(math.pi**2) * rod.until)
    last = len(rod.temperatures) - 1
    worst = max(
        abs(found - fading * math.sin(math.pi * n / last))
        for n, found in enumerate(rod.temperatures)
    )
    return Verdict(worst_error=worst, is_good=worst < 1e-3)


if __name__ == "__main__":
    main(describe, spread, compare)
