"""Of a task that waits at its backend: how long, where, what the backend says, what to do."""

from dataclasses import replace

import pytest

from hut.explanation import Facts, explain
from hut.model.records import Refusal
from hut.model.states import TaskState
from hut.model.waiting import Pool, Queue, Waiting
from hut.model.workflow import TaskSpec
from tests.unit.plain_records import plain_run, plain_task

NOW = 10_000.0
SPEC = TaskSpec("t", "true", "t", partition="ec2")
ONE = Pool("one", kind="EC2", most_cpus=16, cpus=0)
QUEUE = Queue("hut-ec2", pools=(ONE,))
RUNNABLE = Waiting("AWS Batch", "RUNNABLE", "has waited {span} for a machine", queue=QUEUE)
HEALTHY = (
    "Compute environment one (EC2) is ENABLED and VALID; it has or wants 0 of at most 16 vCPUs."
)


def why(waiting, *, spec=SPEC, run=None, state=TaskState.SUBMITTED, **changes):
    fields = {"backend": "batch", "attempt": 1}
    if state is TaskState.SUBMITTED:
        fields |= {"handle": "j-1", "submitted_at": NOW - 1330}
    task = plain_task(state, spec, **{**fields, **changes})
    found = explain(Facts(run or plain_run(), task, NOW, waiting=waiting))
    return found.sentence, *found.details


def test_a_job_that_waits_in_a_healthy_queue():
    assert why(RUNNABLE) == (
        "t has waited 22m 10s for a machine: its job j-1 is RUNNABLE in queue hut-ec2.",
        HEALTHY,
    )


def test_the_backends_words_are_quoted_and_the_next_step_comes_last():
    said = "MISCONFIGURATION:X - CE(s) can't"
    assert why(replace(RUNNABLE, said=said, advice=("Mend it.", "Or that."))) == (
        "t has waited 22m 10s for a machine: its job j-1 is RUNNABLE in queue hut-ec2.",
        f"AWS Batch says: {said}",
        HEALTHY,
        "Next: Mend it.",
        "Next: Or that.",
    )


def test_a_job_behind_another_one_is_told_of_it():
    head, said = "job j-0, named other", "ACTION_REQUIRED - z"
    found = why(replace(RUNNABLE, position=7, head=head, before=said))
    assert found[1:3] == (
        "It is number 7 in its queue.",
        f"The job at the head of the queue holds it up: {head}. Of that one AWS Batch says: {said}",
    )
    assert why(replace(RUNNABLE, position=1))[1] == "It is the next one in its queue."


@pytest.mark.parametrize(
    ("queue", "told"),
    [
        (
            replace(QUEUE, state="DISABLED"),
            ("Queue hut-ec2 is DISABLED: it takes no new jobs, those it has go on.", HEALTHY),
        ),
        (
            replace(QUEUE, status="INVALID", said="no environment"),
            ("Queue hut-ec2 is INVALID: no environment", HEALTHY),
        ),
        (replace(QUEUE, status="UPDATING"), ("Queue hut-ec2 is UPDATING.", HEALTHY)),
        (
            replace(QUEUE, pools=()),
            ("Queue hut-ec2 has no compute environment to get machines from.",),
        ),
        (
            replace(QUEUE, pools=(replace(ONE, state="DISABLED"),)),
            (
                "Compute environment one (EC2) is DISABLED and VALID: it gets no new machines.",
            ),
        ),
        (
            replace(QUEUE, pools=(replace(ONE, status="INVALID", said="CLIENT_ERROR - no role"),)),
            ("Compute environment one (EC2) is ENABLED and INVALID: CLIENT_ERROR - no role",),
        ),
        (
            replace(QUEUE, pools=(replace(ONE, most_cpus=None),)),
            ("Compute environment one (EC2) is ENABLED and VALID.",),
        ),
        (
            replace(QUEUE, pools=(Pool("f", kind="FARGATE", most_cpus=2048), ONE)),
            (
                "Compute environment f (FARGATE) is ENABLED and VALID; it may have 2,048 vCPUs.",
                HEALTHY,
            ),
        ),
    ],
)  # fmt: skip
def test_queues_and_environments_say_how_they_stand(queue, told):
    assert why(replace(RUNNABLE, queue=queue))[1:] == told


def test_a_task_that_asks_for_more_than_there_may_be():
    assert why(replace(RUNNABLE, cpus=64))[1] == (
        "Compute environment one (EC2) is ENABLED and VALID, but too small: the task asks for "
        "64 vCPUs, it may have 16."
    )


def test_a_job_the_backend_has_forgotten_will_be_lost():
    sentence, *details = why(Waiting("AWS Batch", known=False, queue=QUEUE))
    assert sentence == (
        "t was submitted 22m 10s ago, but AWS Batch does not know its job j-1 any more: jobs are "
        "forgotten some days after their end."
    )
    assert details == ["The next sweep records the attempt as lost, and the task is tried again."]


def test_a_job_that_was_just_submitted_may_not_be_seen_yet():
    found = why(Waiting("AWS Batch", known=False, queue=QUEUE), submitted_at=NOW - 3)
    assert found == ("t was submitted 3.0s ago; AWS Batch does not know its job j-1 yet.",)


def test_what_could_not_be_asked_is_said_beside_what_is_known():
    gap = "its job could not be asked for: not authorized"
    assert why(Waiting("AWS Batch", unasked=(gap,))) == (
        "t was submitted to batch 22m 10s ago and waits there for a machine (job j-1).",
        f"AWS Batch: {gap}.",
    )
    assert why(replace(RUNNABLE, unasked=("x",)))[-1] == "AWS Batch: x."


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "Its max_queue_time of 30m ends the wait in 7m 50s."),
        ({"wanted_at": NOW - 1790}, "Its max_queue_time of 30m ends the wait in 10s."),
        (
            {"wanted_at": NOW - 1801},
            "Its max_queue_time of 30m ends the wait with the next look at it.",
        ),
    ],
)
def test_the_end_of_a_wait_is_told(changes, told):
    assert told in why(RUNNABLE, spec=SPEC._replace(max_queue_time=1800.0), **changes)


# Tasks whose job is refused -----------------------------------------------------------------------

REFUSAL = Refusal("batch", "ec2", "Job queue hut-ec2 is not ENABLED", NOW - 720, NOW - 12)
REFUSED = plain_run(refusals=(REFUSAL._replace(partition=None, said="other"), REFUSAL))


def refused(waiting=None, **changes):
    return why(waiting, run=changes.pop("run", REFUSED), state=TaskState.PENDING, **changes)


def test_a_ready_task_says_why_it_has_no_job():
    assert refused() == (
        "t is ready, but batch has not taken its job for 12m.",
        "batch says: Job queue hut-ec2 is not ENABLED",
        "It said so last 12s ago; Hut tries again by itself.",
        "Next: mend what it says; the task is submitted by itself then.",
    )


def test_with_the_state_of_its_queue_and_what_to_do():
    waiting = Waiting("AWS Batch", queue=replace(QUEUE, state="DISABLED"), advice=("Enable it.",))
    assert refused(waiting, wanted_at=NOW - 60, spec=SPEC._replace(max_queue_time=90.0)) == (
        "t is ready, but AWS Batch has not taken its job for 1m.",
        "AWS Batch says: Job queue hut-ec2 is not ENABLED",
        "It said so last 12s ago; Hut tries again by itself.",
        "Queue hut-ec2 is DISABLED: it takes no new jobs, those it has go on.",
        HEALTHY,
        "Its max_queue_time of 1m 30s ends the wait in 30s.",
        "Next: Enable it.",
    )


@pytest.mark.parametrize(
    "run",
    [
        plain_run(),
        plain_run(refusals=(REFUSAL._replace(partition=None),)),
        plain_run(refusals=(REFUSAL._replace(backend="other"),)),
    ],
)
def test_what_other_places_refuse_does_not_concern_it(run):
    assert refused(run=run) == ("t is ready to start.",)


def test_the_next_try_is_told():
    run = plain_run(refusals=(REFUSAL._replace(again_at=NOW + 48),))
    assert "It said so last 12s ago; Hut tries again in 48s." in refused(run=run)


def test_what_else_keeps_it_comes_first():
    assert refused(not_before=NOW + 12)[0] == "t waits 12s before retry 0 of 0."
