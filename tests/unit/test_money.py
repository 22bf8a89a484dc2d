"""What attempts add to their run, and how it is told."""

import pytest

from hut.lifecycle.attempt import Evidence, judge, lost
from hut.lifecycle.money import Spending, spending
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hutctl.display.summary import money_text

GOOD, BAD, LOST = judge(Evidence(0)), judge(Evidence(1)), lost("gone")
HOST = Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, None, "Host EC2 terminated")


@pytest.mark.parametrize(
    ("ends", "added"),
    [
        ([], Spending()),
        ([(GOOD, None), (BAD, None)], Spending()),
        ([(GOOD, 1.0), (BAD, 2.0), (GOOD, None)], Spending(3.0, 0.0, 0)),
        ([(GOOD, 0.0)], Spending(0.0, 0.0, 0)),
        ([(LOST, None), (HOST, None)], Spending(None, 0.0, 2)),
        ([(LOST, 1.0), (HOST, 0.5), (GOOD, 2.0)], Spending(3.5, 1.5, 2)),
    ],
)
def test_ends_add_up(ends, added):
    assert spending(ends) == added


def test_sums_stay_unknown_until_a_cost_is_known():
    assert Spending(None, 0.0, 3).added_to(None, None) == (None, None)
    assert Spending(None, 0.0, 3).added_to(1.0, 0.5) == (1.0, 0.5)
    assert Spending(0.1, 0.1, 1).added_to(None, None) == (0.1, 0.1)
    assert Spending(0.1, 0.0, 0).added_to(0.2, 0.1) == (0.3, 0.1)


@pytest.mark.parametrize(
    ("cost", "cost_lost", "losses", "told"),
    [
        (None, None, 0, ""),
        (None, None, 1, "1 lost attempt"),
        (None, None, 2, "2 lost attempts"),
        (1.236, 0.0, 0, "cost about $1.24"),
        (1.236, 0.1, 3, "cost about $1.24, of it $0.10 on 3 lost attempts"),
        (1234.5, 0.0, 1, "cost about $1,234.50, of it $0.00 on 1 lost attempt"),
        (0.0008, None, 0, "cost about $0.0008"),
        (0.00001, None, 0, "cost less than $0.0001"),
        (0.0, 0.0, 0, "cost about $0.00"),
    ],
)
def test_people_are_told(cost, cost_lost, losses, told):
    assert money_text({"cost": cost, "cost_lost": cost_lost, "losses": losses}) == told
