"""hutctl dies before each of its effects in turn; whoever comes after it brings the run to its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hut.model.states import RunState, TaskState
from tests.simulation.local_home import DIED, LocalHome, task
from tests.simulation.nursery import Nursery, Process

DONE, FAILED, SKIPPED = TaskState.COMPLETED, TaskState.FAILED, TaskState.DEP_FAILED
UNREACHABLE = 4
_MOST = 200


class Story(NamedTuple):
    """A run, what was done before the command that dies, and how all of it ends.

    Attributes
    ----------
    before : callable
        Brings the run to where the command comes.
    command : tuple of str
        What dies, each time a little later.
    ends : dict
        States and numbers of attempts of the tasks in the end.
    """

    tasks: list[dict[str, Any]]
    command: tuple[str, ...]
    state: RunState
    ends: dict[str, tuple[TaskState, int]]
    before: Callable[[LocalHome], object] = lambda _: None


def be_submitted(home: LocalHome) -> None:
    home.hutctl("run", "w.json", dies_before="make lock").wait()


def be_killed_in_the_middle(home: LocalHome) -> None:
    """One task has ended, one runs, the others wait."""
    engine = home.hutctl("run", "w.json")
    while not {"end a 1 0", "begin b 1"} <= {
        " ".join(map(str, line[: 4 if line.what == "end" else 3]))
        for line in home.witnesses.lines()
    }:
        home.wait_for(1)
    engine.send(9)
    engine.wait()


def fail_at_first(home: LocalHome) -> None:
    assert home.hutctl("run", "w.json").wait() == 1
    (home.folder / "go").touch()
    home.witnesses.note("repeated")


DIAMOND = [
    task("a", "sleep 30 & end 0"),
    task("b", "sleep 0.03; end 0", deps=["a"]),
    task("c", '[ "$HUT_ATTEMPT" = 1 ] && end 3; end 0', deps=["a"], retries=1),
    task("d", deps=["b", "c"]),
]
GENERATED = '[{"id": "n", "command": ". ./witness.sh; end 0", "deps": ["gen"]}]'
STORIES = {
    "completes": Story(
        DIAMOND,
        ("run", "w.json"),
        RunState.COMPLETED,
        {"a": (DONE, 1), "b": (DONE, 1), "c": (DONE, 2), "d": (DONE, 1)},
    ),
    "fails": Story(
        [task("a", "end 3"), task("b", deps=["a"]), task("c", deps=["b"]), task("d")],
        ("resume", "last"),
        RunState.FAILED,
        {"a": (FAILED, 1), "b": (SKIPPED, 0), "c": (SKIPPED, 0), "d": (DONE, 1)},
        be_submitted,
    ),
    "grows": Story(
        [task("gen", f"echo '{GENERATED}' > g.json; end 0", generates_source="g.json")],
        ("resume", "last"),
        RunState.COMPLETED,
        {"gen": (DONE, 1), "n": (DONE, 1)},
        be_submitted,
    ),
    "is late": Story(
        [task("a", "sleep 30", time_limit="0.1s"), task("b", deps=["a"])],
        ("resume", "last"),
        RunState.FAILED,
        {"a": (FAILED, 1), "b": (SKIPPED, 0)},
        be_submitted,
    ),
    "is taken over": Story(
        [task("a"), task("b", "sleep 0.1; end 0"), task("c", deps=["a", "b"])],
        ("resume", "last"),
        RunState.COMPLETED,
        {"a": (DONE, 1), "b": (DONE, 1), "c": (DONE, 1)},
        be_killed_in_the_middle,
    ),
    "is cancelled": Story(
        [task("a"), task("b", "sleep 30"), task("c", deps=["b"])],
        ("cancel", "last"),
        RunState.CANCELLED,
        {"a": (DONE, 1), "b": (FAILED, 1), "c": (FAILED, 0)},
        be_killed_in_the_middle,
    ),
    "is repeated": Story(
        [task("a", "[ -e go ] && end 0; end 3"), task("b", deps=["a"]), task("c")],
        ("retry", "last"),
        RunState.COMPLETED,
        {"a": (DONE, 2), "b": (DONE, 1), "c": (DONE, 1)},
        fail_at_first,
    ),
}


WHOLE = ("completes", "is cancelled")
"""In the others, half of a write that never happens does."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def tell(story: Story, home: LocalHome, **fault: Any) -> Process:
    """Tell a story in which something goes wrong with its command; return what became of that."""
    story.before(home)
    process = home.hutctl(*story.command, **fault)
    stopped = process.wait() in (DIED, UNREACHABLE)
    home.check()
    if story.command[0] != "run" and stopped:
        home.hutctl(*story.command).wait()  # a person says it again, or finds it done
    run = home.finish()
    assert (run.state, home.ended()) == (story.state, story.ends)
    return process


def every(
    nursery: Nursery, folder: Path, name: str, fault: str, **more: Any
) -> Iterator[tuple[int, Process]]:
    """Tell a story as often as its command has effects, with the fault at each of them in turn."""
    for number in range(1, _MOST):
        home = LocalHome(nursery, folder / str(number), STORIES[name].tasks, cap=2)
        try:
            yield number, tell(STORIES[name], home, **{fault: number}, **more)
        except AssertionError as error:
            error.add_note(home.history)
            raise
        finally:
            home.close()
    raise AssertionError("it never comes to an end")


@pytest.mark.parametrize(("name", "tears"), [(name, name not in WHOLE) for name in STORIES])
def test_wherever_hutctl_dies_the_run_ends_right(
    nursery: Nursery, tmp_path: Path, name: str, tears: bool
) -> None:
    for number, process in every(nursery, tmp_path, name, "dies_before", tears=tears):
        if process.code != DIED:
            assert number > 10, process.output
            return


@pytest.mark.parametrize("name", ["completes", "is cancelled"])
def test_where_the_disk_is_full_hutctl_says_so_and_the_run_goes_on_when_there_is_room(
    nursery: Nursery, tmp_path: Path, name: str
) -> None:
    for number, process in every(nursery, tmp_path, name, "full_from"):
        if process.code != UNREACHABLE:
            assert number > 10, process.output
            return
        assert re.search("No space left on device|disk is full", process.output)
        assert "Traceback" not in process.output


@pytest.mark.parametrize("number", range(5, 60, 6))
def test_a_run_in_the_same_home_is_not_disturbed(
    nursery: Nursery, tmp_path: Path, number: int
) -> None:
    """Two runs begin at once in a new home; the hutctl of one of them dies."""
    home = tmp_path / "home"
    dying, other = (
        LocalHome(nursery, tmp_path / name, DIAMOND, cap=2, home=home) for name in ("a", "b")
    )
    try:
        dying.hutctl("run", "w.json", dies_before=number)
        assert other.hutctl("run", "w.json").wait() == 0
        for each in (other, dying):
            assert each.finish().state is RunState.COMPLETED
            assert each.ended() == STORIES["completes"].ends
    except AssertionError as error:
        error.add_note(dying.history + other.history)
        raise
    finally:
        dying.close()
        other.close()
