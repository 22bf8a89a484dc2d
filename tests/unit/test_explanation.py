"""Each state and reason gives a sentence that names the thing."""

from dataclasses import replace

import pytest

from hut.explanation import Explanation, Facts, explain
from hut.model.records import Attempt, Outcome, RunSettings
from hut.model.states import INFRASTRUCTURE_REASONS, Reason, TaskState
from hut.model.workflow import Resources, RetryPolicy, TaskSpec
from tests.unit.plain_records import plain_run, plain_task

SPEC = TaskSpec("t", "true", "t")
NOW = 1000.0


def make_run(*, active=0, cap=None, **changes):
    counts = dict.fromkeys(TaskState, 0)
    counts[TaskState.RUNNING] = active // 2
    counts[TaskState.SUBMITTED] = active - active // 2
    return plain_run(**{"counts": counts, "settings": RunSettings(max_concurrent=cap), **changes})


def make_task(state, *, spec=SPEC, **changes):
    return plain_task(state, spec, **{"attempt": int(state is not TaskState.PENDING), **changes})


def why(task, run=None, **facts) -> Explanation:
    return explain(Facts(run or make_run(), task, NOW, **facts))


def failed(reason=Reason.EXIT, message="exit code 3", **changes):
    return make_task(TaskState.FAILED, reason=reason, message=message, **changes)


def attempt(number, message="exit code 3", state=TaskState.FAILED):
    outcome = Outcome(state, Reason.EXIT, 3, message)
    return Attempt(number, outcome, 1.0, 1.0, 2.0, "local", None)


PENDING = make_task(TaskState.PENDING)
RETRIED = RetryPolicy(3, 5.0)


# Waiting ------------------------------------------------------------------------------------------

ONE = (("a", TaskState.RUNNING),)
TWO = (*ONE, ("b", TaskState.PENDING))


@pytest.mark.parametrize(
    ("waits", "count", "sentence"),
    [
        (ONE, 1, "t waits for 1 task: a (running)."),
        (TWO, 2, "t waits for 2 tasks: a (running), b (pending)."),
        (TWO, 5, "t waits for 5 tasks: a (running), b (pending) and 3 more."),
        (ONE, 12_346, "t waits for 12,346 tasks: a (running) and 12,345 more."),
    ],
)
def test_dependencies_are_named_and_the_rest_is_counted(waits, count, sentence):
    found = why(PENDING, waits_for=waits, waits_count=count)
    assert found.sentence == sentence
    assert found.waiting_for == tuple(task_id for task_id, _ in waits)


RETRYING = make_task(
    TaskState.PENDING, spec=SPEC._replace(retry=RETRIED), attempt=2, retries_used=2
)


@pytest.mark.parametrize(
    ("task", "run", "slots", "sentence"),
    [
        (PENDING, make_run(), None, "t is ready to start."),
        (PENDING, make_run(active=3), 4, "t is ready to start."),
        (
            PENDING,
            make_run(active=4, cap=4),
            8,
            "t is ready, but the run's max_concurrent of 4 is reached.",
        ),
        (PENDING, make_run(active=3, cap=4), 8, "t is ready to start."),
        (
            PENDING,
            make_run(active=5, cap=9),
            5,
            "t is ready and waits for a free slot: 5 of 5 are taken.",
        ),
        (
            PENDING,
            make_run(active=5),
            5,
            "t is ready and waits for a free slot: 5 of 5 are taken.",
        ),
        (
            replace(RETRYING, not_before=NOW + 12),
            make_run(active=4, cap=4),
            4,
            "t waits 12s before retry 2 of 3.",
        ),
        (replace(RETRYING, not_before=NOW + 0.25), make_run(), 4, "t waits 0.2s before retry 2 of 3."),
        (replace(RETRYING, not_before=NOW + 200), make_run(), 4, "t waits 3m 20s before retry 2 of 3."),
        (replace(RETRYING, not_before=NOW + 7500), make_run(), 4, "t waits 2h 5m before retry 2 of 3."),
        (replace(RETRYING, not_before=NOW), make_run(), 4, "t is ready to start."),
    ],
)  # fmt: skip
def test_what_a_ready_task_waits_for_is_named(task, run, slots, sentence):
    found = why(task, run, slots=slots)
    assert found.sentence == sentence
    assert found.waiting_for == ()


def test_dependencies_come_before_everything_else():
    task = replace(RETRYING, not_before=NOW + 9)
    found = why(task, make_run(active=4, cap=4), slots=4, waits_for=ONE, waits_count=1)
    assert found.sentence == "t waits for 1 task: a (running)."


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.SUBMITTED, TaskState.RUNNING])
def test_it_is_said_when_nobody_works_on_the_run(state):
    task = make_task(state)
    assert any("hutctl resume r1" in line for line in why(task, driven=False).details)
    assert not any("resume" in line for line in why(task, driven=True).details)


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED, TaskState.DEP_FAILED])
def test_nobody_needs_to_work_on_what_has_ended(state):
    assert not any("resume" in line for line in why(make_task(state), driven=False).details)


def test_earlier_attempts_of_a_waiting_task_are_told():
    found = why(RETRYING, attempts=[attempt(1), attempt(2, "killed by SIGKILL (signal 9)")])
    assert found.details == ("Attempt 1: exit code 3.", "Attempt 2: killed by SIGKILL (signal 9).")


def test_of_many_attempts_the_last_ten_are_told():
    found = why(RETRYING, attempts=[attempt(number) for number in range(1, 31)])
    assert [line.partition(":")[0] for line in found.details] == [
        f"Attempt {number}" for number in range(21, 31)
    ]


# At work ------------------------------------------------------------------------------------------


def test_a_claimed_task_is_about_to_start():
    assert why(make_task(TaskState.SUBMITTED)).sentence == "t is claimed and about to start."
    job = make_task(TaskState.SUBMITTED, handle="j-1", backend="batch")
    told = why(job).sentence
    assert told.startswith("t was submitted to batch")
    assert told.endswith("waits there for a machine (job j-1).")


def test_a_running_task_tells_how_long_which_attempt_and_its_limit():
    spec = SPEC._replace(resources=Resources(time_limit=5400.0))
    task = make_task(TaskState.RUNNING, spec=spec, attempt=3, started_at=NOW - 65)
    found = why(task, attempts=[attempt(1), attempt(2)])
    assert found.sentence.startswith("t is running for 1m 5s (attempt 3, time limit ")
    assert "1:30:00" in found.sentence
    assert [line.partition(":")[0] for line in found.details] == ["Attempt 1", "Attempt 2"]


# Ended --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "t completed."),
        ({"started_at": 1.0, "ended_at": 1.44}, "t completed after 0.4s."),
        (
            {"attempt": 3, "started_at": 0.0, "ended_at": 60.0},
            "t completed on attempt 3 after 1m.",
        ),
    ],
)
def test_a_completed_task_tells_its_attempt_and_how_long_it_took(changes, sentence):
    assert why(make_task(TaskState.COMPLETED, **changes)).sentence == sentence


def test_a_task_that_was_not_run_names_the_root_cause_and_what_to_do():
    cause = failed(spec=SPEC._replace(id="root"), message="exit code 9")
    found = why(make_task(TaskState.DEP_FAILED, attempt=0), cause=cause)
    assert found.sentence == "t was not run, because root failed: exit code 9."
    assert found.cause == "root"
    assert any("root" in line and "hutctl retry r1" in line for line in found.details)


def test_a_root_cause_that_is_gone_leaves_a_sentence():
    found = why(make_task(TaskState.DEP_FAILED, attempt=0), cause=None)
    assert found.sentence == "t was not run, because a task it depends on failed."
    assert found.cause is None


@pytest.mark.parametrize("reason", [r for r in Reason if r is not Reason.DEPENDENCY])
def test_every_reason_of_a_failure_is_in_the_sentence(reason):
    assert str(reason) in why(failed(reason, "")).sentence
    said = why(failed(reason, "what happened to it", attempt=2, started_at=0.0, ended_at=15.0))
    assert said.sentence == "t failed after 15s: what happened to it (attempt 2)."


def test_a_failure_without_any_reason_says_so():
    assert why(failed(None, "")).sentence == "t failed: no reason is known."


def test_a_task_that_was_cancelled_before_it_started_did_not_fail():
    found = why(failed(Reason.CANCELLED, "cancelled before it started", attempt=0))
    assert found == Explanation("t was cancelled before it started.")


@pytest.mark.parametrize(
    ("policy", "used", "expected"),
    [
        (RetryPolicy(3), 3, "All 3 retries are used."),
        (
            RetryPolicy(3, on=frozenset({75, "timeout"})),
            0,
            "It is not retried: retry_on names only 75, timeout.",
        ),
        (RetryPolicy(3, on=frozenset({75})), 3, "All 3 retries are used."),
    ],
)
def test_why_a_failure_was_not_retried_is_told(policy, used, expected):
    task = failed(spec=SPEC._replace(retry=policy), retries_used=used)
    assert expected in why(task).details


@pytest.mark.parametrize("reason", [Reason.EXIT, Reason.CANCELLED])
def test_nothing_is_said_of_retries_where_there_are_none(reason):
    assert why(failed(reason)).details == ()


def test_a_cancelled_attempt_says_nothing_of_retries():
    policy = RetryPolicy(3, on=frozenset({75}))
    task = failed(Reason.CANCELLED, "cancelled while it ran", spec=SPEC._replace(retry=policy))
    assert why(task).details == ()


@pytest.mark.parametrize("reason", sorted(INFRASTRUCTURE_REASONS))
def test_losses_are_told_apart_from_retries(reason):
    spec = SPEC._replace(retry=RetryPolicy(3))
    task = failed(reason, "gone", spec=spec, attempt=6, losses=5, retries_used=3)
    details = why(task).details
    assert any("lost too often" in line for line in details)
    assert not any("retries" in line for line in details)


def test_a_loss_in_a_cancelled_run_was_not_one_too_many():
    run = make_run(cancel_requested_at=900.0)
    details = why(failed(Reason.LOST, "gone", losses=0), run).details
    assert not any("too often" in line or "new attempt" in line for line in details)


def test_earlier_attempts_are_told_but_not_the_one_of_the_sentence():
    found = why(failed(attempt=2), attempts=[attempt(1, "exit code 1"), attempt(2)])
    assert found.details == ("Attempt 1: exit code 1.",)


@pytest.mark.parametrize(
    "task",
    [
        failed(spec=SPEC._replace(env_vars={"A": "1"})),
        failed(spec=SPEC._replace(environment="e")),
        failed(Reason.LAUNCH_FAILED, "no such folder"),
    ],
)
def test_the_script_is_pointed_to_where_it_may_be_the_cause(task):
    assert "What ran: hutctl script r1 t" in why(task).details


def test_the_script_is_not_pointed_to_where_it_is_the_command():
    assert not any("hutctl script" in line for line in why(failed()).details)
