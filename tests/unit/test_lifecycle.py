"""How attempts end, what follows from it, and when a run is over."""

import itertools
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.lifecycle.attempt import (
    Evidence,
    cancelled_before_start,
    invalid_output,
    judge,
    lost,
    queue_timeout,
)
from hut.lifecycle.retry import LONGEST_DELAY, MOST_LOSSES, Spent, next_delay
from hut.lifecycle.run import end_of_run, is_over
from hut.lifecycle.task import Next, after_end, may
from hut.model.records import Outcome
from hut.model.states import (
    ACTIVE,
    INFRASTRUCTURE_REASONS,
    TERMINAL,
    TERMINAL_RUN,
    Reason,
    RunState,
    TaskState,
)
from hut.model.workflow import RetryPolicy

# Evidence ----------------------------------------------------------------------------------------


def test_exit_code_zero_is_success_without_a_message():
    assert judge(Evidence(exit_code=0)) == Outcome(TaskState.COMPLETED, Reason.EXIT, 0, "")


@pytest.mark.parametrize("code", [1, 2, 75, 125, 128, 200, 255])
def test_any_other_exit_code_is_a_failure_that_keeps_it(code):
    outcome = judge(Evidence(exit_code=code))
    assert (outcome.state, outcome.reason) == (TaskState.FAILED, Reason.EXIT)
    assert outcome.exit_code == code
    assert str(code) in outcome.message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (126, ["126", "executed"]),
        (127, ["127", "not found"]),
        (137, ["137", "SIGKILL", "memory"]),
        (139, ["139", "SIGSEGV"]),
        (143, ["143", "SIGTERM"]),
    ],
)
def test_well_known_exit_codes_of_shells_are_explained(code, words):
    message = judge(Evidence(exit_code=code)).message
    for word in words:
        assert word in message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT])
def test_death_by_a_signal_is_named_and_has_a_shells_exit_code(number):
    outcome = judge(Evidence(signal_number=number))
    assert (outcome.state, outcome.reason) == (TaskState.FAILED, Reason.SIGNAL)
    assert outcome.exit_code == 128 + number
    assert number.name in outcome.message


def test_a_signal_without_a_name_is_shown_by_its_number():
    outcome = judge(Evidence(signal_number=120))
    assert outcome.reason is Reason.SIGNAL
    assert "120" in outcome.message


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (Evidence(exit_code=143, timed_out=True, time_limit=5400), 143),
        (Evidence(signal_number=9, timed_out=True, time_limit=5400), 137),
        (Evidence(exit_code=0, timed_out=True, time_limit=5400), 0),
        (Evidence(timed_out=True, time_limit=5400), None),
    ],
)
def test_what_hut_stopped_at_its_limit_has_timed_out_however_it_left(evidence, code):
    outcome = judge(evidence)
    assert (outcome.state, outcome.reason) == (TaskState.FAILED, Reason.TIMEOUT)
    assert outcome.exit_code == code
    assert "1:30:00" in outcome.message


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (Evidence(exit_code=0, cancelled=True), 0),
        (Evidence(exit_code=130, cancelled=True), 130),
        (Evidence(signal_number=15, cancelled=True), 143),
        (Evidence(cancelled=True), None),
        (Evidence(signal_number=15, cancelled=True, timed_out=True, time_limit=1), 143),
    ],
)
def test_what_hut_cancelled_is_cancelled_however_it_left(evidence, code):
    outcome = judge(evidence)
    assert (outcome.state, outcome.reason) == (TaskState.FAILED, Reason.CANCELLED)
    assert outcome.exit_code == code


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(not_started="no such folder: x"),
        Evidence(exit_code=125, not_started="no such folder: x"),
        Evidence(exit_code=0, not_started="no such folder: x"),
    ],
)
def test_what_never_started_failed_to_launch_with_the_reason(evidence):
    outcome = judge(evidence)
    assert (outcome.state, outcome.reason) == (TaskState.FAILED, Reason.LAUNCH_FAILED)
    assert outcome.message == "no such folder: x"
    assert outcome.exit_code == evidence.exit_code


def test_without_evidence_of_an_end_there_is_no_verdict():
    with pytest.raises(ValueError, match="not ended"):
        judge(Evidence(time_limit=60))


EVIDENCE = st.builds(
    Evidence,
    exit_code=st.none() | st.integers(0, 255),
    signal_number=st.none() | st.integers(1, 64),
    timed_out=st.booleans(),
    cancelled=st.booleans(),
    time_limit=st.floats(0, 1e6),
    not_started=st.sampled_from(["", "no shell"]),
)


@given(EVIDENCE)
def test_only_a_clean_exit_that_nobody_caused_completes_a_task(evidence):
    clean = evidence.exit_code == 0 and evidence.signal_number is None
    untouched = not (evidence.timed_out or evidence.cancelled or evidence.not_started)
    try:
        outcome = judge(evidence)
    except ValueError:
        assert evidence.exit_code is None
        assert evidence.signal_number is None
        assert untouched
        return
    assert (outcome.state is TaskState.COMPLETED) == (clean and untouched)
    assert outcome.state in TERMINAL
    assert bool(outcome.message) == (outcome.state is TaskState.FAILED)
    if evidence.signal_number is not None:
        assert outcome.exit_code == 128 + evidence.signal_number


@pytest.mark.parametrize(
    ("outcome", "reason", "code"),
    [
        (lost("the process is gone"), Reason.LOST, None),
        (invalid_output("more.json is missing"), Reason.INVALID_OUTPUT, 0),
        (cancelled_before_start(), Reason.CANCELLED, None),
    ],
)
def test_ends_that_no_exit_code_tells_are_failures_with_their_reason(outcome, reason, code):
    assert (outcome.state, outcome.reason) == (TaskState.FAILED, reason)
    assert outcome.exit_code == code
    assert outcome.message


# Retries -----------------------------------------------------------------------------------------


def failed(reason=Reason.EXIT, code=1):
    return Outcome(TaskState.FAILED, reason, code, "x")


COMPLETED = Outcome(TaskState.COMPLETED, Reason.EXIT, 0)


@pytest.mark.parametrize(
    ("spent", "delay"), [(0, 10), (1, 20), (2, 40), (3, 80), (4, None), (9, None)]
)
def test_the_delay_doubles_with_each_retry_until_none_is_left(spent, delay):
    policy = RetryPolicy(retries=4, delay=10)
    assert next_delay(failed(), policy, Spent(retries=spent)) == delay


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(0), [None]),
        (RetryPolicy(2), [0, 0, None]),
        (RetryPolicy(2, delay=5, backoff=1), [5, 5, None]),
        (RetryPolicy(3, delay=2, backoff=3), [2, 6, 18, None]),
        (RetryPolicy(2, delay=0.5, backoff=1.5), [0.5, 0.75, None]),
    ],
)
def test_the_policy_gives_the_delays(policy, delays):
    assert [next_delay(failed(), policy, Spent(n)) for n in range(len(delays))] == delays


def test_a_growing_delay_stops_at_the_longest():
    policy = RetryPolicy(retries=1000, delay=60, backoff=1000)
    assert next_delay(failed(), policy, Spent(0)) == 60
    assert next_delay(failed(), policy, Spent(1)) == 60_000
    assert next_delay(failed(), policy, Spent(2)) == LONGEST_DELAY
    assert next_delay(failed(), policy, Spent(999)) == LONGEST_DELAY  # 1000 ** 999 is no float


@given(
    st.builds(RetryPolicy, st.integers(0, 1000), st.floats(0, LONGEST_DELAY), st.floats(1, 1000)),
    st.integers(0, 1000),
)
def test_delays_never_shrink_and_never_exceed_the_longest(policy, spent):
    first, second = (next_delay(failed(), policy, Spent(n)) for n in (spent, spent + 1))
    assert (first is None) == (spent >= policy.retries)
    if second is not None:
        assert 0 <= first <= second <= LONGEST_DELAY


@pytest.mark.parametrize(
    ("on", "outcome", "again"),
    [
        (set(), failed(code=1), True),
        (set(), failed(Reason.TIMEOUT, 143), True),
        (set(), failed(Reason.LAUNCH_FAILED, 125), True),
        ({75}, failed(code=75), True),
        ({75}, failed(code=1), False),
        ({75, 1}, failed(code=1), True),
        ({137}, failed(Reason.SIGNAL, 137), True),
        ({137}, failed(Reason.TIMEOUT, 137), False),
        ({137}, failed(Reason.OUT_OF_MEMORY, 137), False),
        ({0}, failed(Reason.INVALID_OUTPUT, 0), False),
        ({"timeout"}, failed(Reason.TIMEOUT, 143), True),
        ({"timeout"}, failed(code=143), False),
        ({"exit"}, failed(code=9), True),
        ({"signal"}, failed(Reason.SIGNAL, 137), True),
        ({"signal"}, failed(code=137), False),
        ({"out_of_memory", 75}, failed(Reason.OUT_OF_MEMORY, 137), True),
        ({"launch_failed"}, failed(Reason.LAUNCH_FAILED, None), True),
        ({"queue_timeout"}, queue_timeout("waited"), True),
        ({"no_capacity"}, failed(Reason.NO_CAPACITY, None), True),
        ({"no_capacity"}, failed(Reason.STARTUP_TIMEOUT, None), False),
        ({"startup_timeout"}, failed(Reason.STARTUP_TIMEOUT, None), True),
        (set(), failed(Reason.NO_CAPACITY, None), True),
        ({"timeout"}, queue_timeout("waited"), False),
        (set(), queue_timeout("waited"), True),
        ({"invalid_output"}, failed(Reason.INVALID_OUTPUT, 0), True),
    ],
)
def test_only_what_retry_on_lists_is_retried(on, outcome, again):
    policy = RetryPolicy(retries=1, delay=7, on=frozenset(on))
    assert next_delay(outcome, policy, Spent()) == (7 if again else None)


@pytest.mark.parametrize("reason", sorted(INFRASTRUCTURE_REASONS))
@pytest.mark.parametrize("policy", [RetryPolicy(), RetryPolicy(3, delay=60, on=frozenset({75}))])
def test_a_lost_attempt_is_repeated_at_once_whatever_the_policy(reason, policy):
    losses = range(MOST_LOSSES + 2)
    delays = [next_delay(failed(reason, None), policy, Spent(9, n)) for n in losses]
    assert delays == [0.0] * MOST_LOSSES + [None, None]


def test_losses_and_retries_are_different_budgets():
    policy = RetryPolicy(retries=1)
    assert next_delay(failed(), policy, Spent(0, losses=MOST_LOSSES)) == 0
    assert next_delay(failed(Reason.LOST, None), policy, Spent(1, losses=0)) == 0
    assert next_delay(failed(), policy, Spent(1, losses=0)) is None


@pytest.mark.parametrize("outcome", [COMPLETED, failed(Reason.CANCELLED, 143)])
@pytest.mark.parametrize("on", [frozenset(), frozenset({0, 143, "exit"})])
def test_success_and_a_cancel_are_never_retried(outcome, on):
    assert next_delay(outcome, RetryPolicy(5, on=on), Spent()) is None


# What follows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "policy", "spent", "following"),
    [
        (COMPLETED, RetryPolicy(3), Spent(1, 2), Next(TaskState.COMPLETED, 0, 1, 2)),
        (failed(), RetryPolicy(0), Spent(), Next(TaskState.FAILED, 0, 0, 0)),
        (failed(), RetryPolicy(2), Spent(2), Next(TaskState.FAILED, 0, 2, 0)),
        (failed(), RetryPolicy(2, delay=10), Spent(1, 1), Next(TaskState.PENDING, 1020, 2, 1)),
        (
            failed(Reason.LOST, None),
            RetryPolicy(0),
            Spent(0, 3),
            Next(TaskState.PENDING, 1000, 0, 4),
        ),
        (
            failed(Reason.LOST, None),
            RetryPolicy(9),
            Spent(0, MOST_LOSSES),
            Next(TaskState.FAILED, 0, 0, MOST_LOSSES),
        ),
        (failed(Reason.CANCELLED, 143), RetryPolicy(9), Spent(), Next(TaskState.FAILED, 0, 0, 0)),
    ],
)
def test_an_end_leads_to_success_failure_or_another_attempt(outcome, policy, spent, following):
    assert after_end(outcome, policy, spent, 1000.0) == following


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (failed(), TaskState.FAILED),
        (failed(Reason.LOST, None), TaskState.FAILED),
        (COMPLETED, TaskState.COMPLETED),
    ],
)
def test_while_a_run_is_cancelled_no_attempt_follows_but_success_counts(outcome, state):
    following = after_end(outcome, RetryPolicy(5), Spent(1, 1), 1000.0, cancelling=True)
    assert following == Next(state, 0.0, 1, 1)


OUTCOMES = st.builds(
    failed, st.sampled_from(sorted(Reason)), st.none() | st.integers(0, 255)
) | st.just(COMPLETED)


@given(
    st.builds(
        RetryPolicy,
        st.integers(0, 5),
        st.floats(0, 100),
        on=st.frozensets(st.integers(0, 3) | st.sampled_from(sorted(Reason)), max_size=3),
    ),
    st.data(),
)
def test_a_task_that_always_fails_ends_after_at_most_its_retries_and_losses(policy, data):
    spent, attempts = Spent(), 0
    while True:
        attempts += 1
        following = after_end(data.draw(OUTCOMES), policy, spent, 50.0)
        if following.state is not TaskState.PENDING:
            break
        assert following.not_before >= 50.0
        used = following.retries_used + following.losses
        assert used == spent.retries + spent.losses + 1
        spent = Spent(following.retries_used, following.losses)
        assert attempts <= policy.retries + MOST_LOSSES
    assert following.state in TERMINAL
    assert spent.retries <= policy.retries
    assert spent.losses <= MOST_LOSSES


# Transitions -------------------------------------------------------------------------------------

ALLOWED = {
    ("pending", "submitted"),
    ("pending", "dep_failed"),
    ("pending", "failed"),
    ("submitted", "running"),
    ("submitted", "completed"),
    ("submitted", "failed"),
    ("submitted", "pending"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "pending"),
    ("completed", "pending"),
    ("failed", "pending"),
    ("dep_failed", "pending"),
}


@pytest.mark.parametrize(("before", "after"), [*itertools.product(TaskState, repeat=2)])
def test_a_task_may_take_these_steps_and_no_other(before, after):
    assert may(before, after) == ((before, after) in ALLOWED)


def test_the_states_of_tasks_and_runs_are_those_of_the_contract():
    assert {str(state) for state in TaskState} == set(itertools.chain(*ALLOWED))
    assert {"submitted", "running"} == ACTIVE
    assert {"completed", "failed", "dep_failed"} == TERMINAL
    assert {"completed", "failed", "cancelled"} == TERMINAL_RUN
    assert set(RunState) == TERMINAL_RUN | {"pending", "running"}


@given(OUTCOMES, st.integers(0, 2), st.booleans())
def test_what_follows_an_attempt_is_a_step_an_active_task_may_take(outcome, retries, cancelling):
    following = after_end(outcome, RetryPolicy(retries), Spent(), 0.0, cancelling=cancelling)
    assert all(may(before, following.state) for before in ACTIVE)


# Runs --------------------------------------------------------------------------------------------


def counts(**given):
    return {state: given.get(state.value, 0) for state in TaskState}


@pytest.mark.parametrize("open_state", ["pending", "submitted", "running"])
@pytest.mark.parametrize("stopped", [None, Reason.CANCELLED, Reason.TIMEOUT, Reason.BUDGET])
def test_a_run_with_an_open_task_is_not_over(open_state, stopped):
    open_ones = counts(completed=5, failed=1, dep_failed=2, **{open_state: 1})
    assert not is_over(open_ones)
    assert end_of_run(open_ones, stopped=stopped) is None


@pytest.mark.parametrize(
    ("given_counts", "stopped", "state", "reason", "words"),
    [
        (counts(completed=3), None, "completed", None, []),
        (counts(completed=3), Reason.CANCELLED, "completed", None, []),
        (counts(completed=3), Reason.TIMEOUT, "completed", None, []),
        (counts(completed=2, failed=1), None, "failed", "task_failed", ["1 task failed"]),
        (counts(failed=1200), None, "failed", "task_failed", ["1,200 tasks failed"]),
        (counts(failed=2, dep_failed=3), None, "failed", "task_failed", ["2 tasks failed", "3"]),
        (counts(completed=1, failed=1), Reason.CANCELLED, "cancelled", "cancelled", ["cancel"]),
        (counts(dep_failed=1), Reason.CANCELLED, "cancelled", "cancelled", ["cancel"]),
        (counts(completed=1, failed=1), Reason.TIMEOUT, "failed", "timeout", ["time limit"]),
    ],
)
def test_a_run_ends_by_the_counts_of_its_tasks(given_counts, stopped, state, reason, words):
    assert is_over(given_counts)
    end = end_of_run(given_counts, stopped=stopped)
    assert (end.state, end.reason) == (state, reason)
    assert bool(end.message) == bool(words)
    for word in words:
        assert word in end.message


@given(
    st.fixed_dictionaries({state: st.integers(0, 3) for state in TaskState}),
    st.sampled_from([None, Reason.CANCELLED, Reason.TIMEOUT]),
)
def test_a_run_ends_once_every_task_has_and_succeeds_only_if_all_did(given_counts, stopped):
    end = end_of_run(given_counts, stopped=stopped)
    open_ones = sum(given_counts[state] for state in TaskState if state not in TERMINAL)
    assert (end is None) == (open_ones > 0)
    if end is not None:
        all_done = given_counts[TaskState.FAILED] + given_counts[TaskState.DEP_FAILED] == 0
        assert (end.state is RunState.COMPLETED) == all_done
        assert end.state in TERMINAL_RUN
