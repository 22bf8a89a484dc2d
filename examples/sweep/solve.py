"""Follow a planet once around its sun with a method and a number of steps.

Usage: solve.py METHOD STEPS, with HUT_RUN_ID and HUT_ATTEMPT in the environment.

After one revolution the planet must be where it started; how far off it is, is the error of the
method. Writes ``results/RUN/METHOD.STEPS.json``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from math import hypot, pi, sqrt
from pathlib import Path

State = tuple[float, float, float, float]  # place x, y and velocity u, v
Method = Callable[[State, float], State]

ECCENTRICITY = 0.3
# Units in which the orbit's half axis and the sun's pull are 1: a revolution takes 2 pi.
START: State = (1 - ECCENTRICITY, 0.0, 0.0, sqrt((1 + ECCENTRICITY) / (1 - ECCENTRICITY)))


def change(state: State) -> State:
    """Return the time derivative of a state: Newton's law of gravity."""
    x, y, u, v = state
    cube = (x * x + y * y) ** 1.5
    return u, v, -x / cube, -y / cube


def move(state: State, slope: State, time: float) -> State:
    """Return where `state` comes to along a straight line."""
    x, y, u, v = state
    dx, dy, du, dv = slope
    return x + time * dx, y + time * dy, u + time * du, v + time * dv


def euler(state: State, step: float) -> State:
    """Go along the slope at the start."""
    return move(state, change(state), step)


def midpoint(state: State, step: float) -> State:
    """Go along the slope half a step ahead."""
    return move(state, change(move(state, change(state), step / 2)), step)


def rk4(state: State, step: float) -> State:
    """Go along a mean of four slopes: the classical method of Runge and Kutta."""
    first = change(state)
    second = change(move(state, first, step / 2))
    third = change(move(state, second, step / 2))
    fourth = change(move(state, third, step))
    state = move(state, first, step / 6)
    state = move(state, second, step / 3)
    state = move(state, third, step / 3)
    return move(state, fourth, step / 6)


METHODS: dict[str, Method] = {"euler": euler, "midpoint": midpoint, "rk4": rk4}


def revolution_error(method: Method, steps: int) -> float:
    """Return the distance between the planet's place at the start and after one revolution."""
    state = START
    for _ in range(steps):
        state = method(state, 2 * pi / steps)
    return hypot(state[0] - START[0], state[1] - START[1])


def main() -> None:
    """Solve one cell of the sweep."""
    method, steps = sys.argv[1], int(sys.argv[2])
    error = revolution_error(METHODS[method], steps)
    attempt = int(os.environ["HUT_ATTEMPT"])
    folder = Path("results", os.environ["HUT_RUN_ID"])
    folder.mkdir(parents=True, exist_ok=True)
    document = {"method": method, "steps": steps, "error": error, "attempt": attempt}
    target = folder / f"{method}.{steps}.json"
    target.write_text(json.dumps(document) + "\n", encoding="utf-8")
    print(f"{method}, {steps} steps: {error:.3g} off after one revolution")


if __name__ == "__main__":
    main()
