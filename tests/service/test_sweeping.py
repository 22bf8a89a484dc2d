"""The sweep: claims without a job, broken runs, fairness."""

from __future__ import annotations

from hut.backends.port import JobState
from hut.model.states import RunState
from hut.service.observing import DUPLICATE
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import Died


def die_in_submit(plane: ControlPlane, *, before: bool) -> None:
    """Let the next submission kill its process."""

    def die() -> None:
        plane.backend.before_submit = plane.backend.after_submit = None
        raise Died

    if before:
        plane.backend.before_submit = die
    else:
        plane.backend.after_submit = die
    plane.deliver_stream()


def test_a_claim_that_was_never_submitted_is_given_back(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b"})
    die_in_submit(plane, before=True)
    plane.clock.now += 100
    assert plane.sweep().claims_returned == 0  # its Lambda may still be alive
    assert plane.states(run) == {"a": "submitted", "b": "submitted"}
    plane.clock.now += 1
    assert plane.sweep().claims_returned == 2
    assert plane.states(run) == {"a": "submitted", "b": "submitted"}  # anew, with handles
    assert [task.handle is not None for task in plane.tasks(run)] == [True, True]
    assert plane.finish(run).state is RunState.COMPLETED
    assert [plane.task(run, task_id).attempt for task_id in "ab"] == [1, 1]


def test_what_is_found_out_of_many_claims_is_kept_when_time_runs_out(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{i}"} for i in range(60)))
    die_in_submit(plane, before=True)
    claimed = plane.run(run).active
    plane.clock.now += 200
    plane.backend.found_at_once = 10
    looks = iter(range(3))
    plane.has_time = lambda: next(looks, None) is not None
    assert plane.sweep().claims_returned == 20  # the first look is the sweep's own
    assert "no time to look for all claims" in plane.notes.warnings()
    plane.has_time = lambda: True
    assert plane.sweep().claims_returned == claimed - 20
    assert plane.finish(run).state is RunState.COMPLETED
    assert len(plane.backend.jobs) == 60


def test_the_job_of_a_claim_is_found_under_its_name(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b"})
    die_in_submit(plane, before=False)
    job = plane.job("b")
    plane.backend.end(plane.job("a"))
    plane.lose_events()
    plane.clock.now += 200
    swept = plane.sweep()
    assert (swept.claims_returned, swept.ends_found) == (0, 1)
    assert plane.task(run, "b").handle == job.handle
    assert plane.states(run) == {"a": "completed", "b": "submitted"}
    assert plane.finish(run).state is RunState.COMPLETED
    assert len(plane.backend.jobs) == 2


def test_of_several_jobs_under_a_name_the_oldest_one_counts(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    die_in_submit(plane, before=False)
    first = plane.job("a")
    second = plane.backend.again(first)
    plane.clock.now += 200
    plane.sweep()
    assert plane.task(run, "a").handle == first.handle
    assert plane.backend.terminated == [(second.handle, DUPLICATE)]
    assert plane.finish(run).state is RunState.COMPLETED


def test_a_broken_run_does_not_keep_the_others(plane: ControlPlane) -> None:
    one, two, three = (plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]}) for _ in range(3))
    plane.deliver()
    plane.backend.run_all()
    plane.lose_events()
    get_run = plane.store.get_run

    def break_one(run_id: str):
        if run_id == one.id:
            raise ValueError("broken")
        return get_run(run_id)

    plane.store.get_run = break_one  # type: ignore[method-assign]
    swept = plane.sweep()
    assert (swept.runs, swept.failed, swept.ends_found) == (3, 1, 2)
    del plane.store.get_run  # type: ignore[method-assign]
    assert [plane.states(run)["b"] for run in (one, two, three)] == [
        "pending",
        "submitted",
        "submitted",
    ]
    (fields,) = [f for _, message, f in plane.notes.told if message == "a run could not be swept"]
    assert fields["run"] == one.id


def test_a_run_that_is_listed_but_not_there_is_passed_over(plane: ControlPlane) -> None:
    gone, run = plane.begin({"id": "a"}), plane.begin({"id": "a"})
    key = {"pk": {"S": f"RUN#{gone.id}"}, "sk": {"S": "META"}}
    plane.client.delete_item(TableName=plane.options.table, Key=key)
    plane.lose_events()
    assert plane.sweep().runs == 2
    assert plane.states(run) == {"a": "submitted"}


def test_an_ended_run_that_is_still_listed_is_told_and_taken_off(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.finish(run)
    key = {"pk": {"S": "RUNS#r"}, "sk": {"S": run.id}}
    plane.client.update_item(
        TableName=plane.options.table,
        Key=key,
        UpdateExpression="SET active = :active",
        ExpressionAttributeValues={":active": {"S": "active"}},
    )
    told = len(plane.executions.told)
    assert plane.sweep().runs == 1
    assert len(plane.executions.told) == told + 1
    assert plane.sweep().runs == 0


def test_a_sweep_of_a_healthy_run_changes_nothing(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.deliver()
    plane.backend.start()
    plane.deliver()
    writes = len(plane.fate.effects)
    before = plane.tasks(run)
    for _ in range(3):
        plane.clock.now += 300
        plane.sweep()
    assert plane.tasks(run) == before
    assert len(plane.fate.effects) == writes


def test_no_run_is_always_left_out(plane: ControlPlane) -> None:
    runs = [plane.submit({"id": "a"}).id for _ in range(10)]
    swept: set[str] = set()
    get_run = plane.store.get_run

    def note(run_id: str):
        swept.add(run_id)
        return get_run(run_id)

    plane.store.get_run = note  # type: ignore[method-assign]
    for _ in range(60):
        looks = iter(range(3))
        plane.has_time = lambda looks=looks: next(looks, None) is not None
        plane.clock.now += 300
        plane.sweep()
    assert swept == set(runs)


def test_thousands_of_active_tasks_are_looked_at(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{i}"} for i in range(1100)))
    plane.deliver()
    plane.backend.end()
    plane.lose_events()
    assert plane.sweep().ends_found == 1100
    assert plane.run(run).state is RunState.COMPLETED


def test_a_run_whose_execution_was_over_before_it_began_is_cancelled(plane: ControlPlane) -> None:
    run = plane.submit({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.executions.started[f"{run.id}-0"].over = True
    plane.clock.now += 100
    plane.sweep()
    assert plane.finish(run).state is RunState.CANCELLED
    assert "the execution is over" in plane.notes.warnings()


def test_jobs_that_nobody_wants_are_ended_whatever_runs_there_are(plane: ControlPlane) -> None:
    plane.backend.tidies = True
    run = plane.begin({"id": "a"}, {"id": "b"})
    plane.deliver_stream()
    wanted, left = plane.job("a"), plane.job("b")
    strange = plane.backend.again(wanted)
    for job, name in (
        (strange, "hut-zzzzzzzzzz-0-1-1"),  # of a run that is not known
        (plane.backend.again(wanted), f"hut-{run.id}-7-1-1"),  # of a task that is not
        (plane.backend.again(wanted), f"lab-{run.id}-7-1-1"),  # of another deployment
    ):
        job.name = name
    plane.backend.end(left)
    plane.deliver_jobs()
    left.state = JobState.RUNNING  # it has ended for Hut, but is there
    assert plane.sweep().unwanted == 0  # they may be about to be noted
    plane.clock.now += 101
    swept = plane.sweep()
    assert (swept.unwanted, swept.failed) == (3, 0)
    ended = {plane.backend.jobs[handle].name for handle, _ in plane.backend.terminated}
    assert ended == {strange.name, f"hut-{run.id}-7-1-1", left.name}
    assert {reason for _, reason in plane.backend.terminated} == {DUPLICATE}
    assert plane.task(run, "a").handle == wanted.handle
    assert plane.sweep().unwanted == 0


def test_a_start_that_no_event_told_of_is_found_among_a_backends_jobs(plane: ControlPlane) -> None:
    plane.backend.tidies = True
    run = plane.begin({"id": "a"})
    die_in_submit(plane, before=False)
    job = plane.job("a")
    job.state, job.started_at = JobState.RUNNING, plane.clock.now
    plane.clock.now += 101
    plane.sweep()
    task = plane.task(run, "a")
    assert (task.handle, task.started_at) == (job.handle, job.started_at)


def test_a_backend_that_cannot_be_tidied_does_not_keep_the_runs(plane: ControlPlane) -> None:
    plane.backend.tidies = ConnectionError("no answer")
    run = plane.begin({"id": "a"})
    plane.deliver_stream()
    plane.backend.end(plane.job("a"))
    plane.lose_events()
    plane.clock.now += 200
    swept = plane.sweep()
    assert (swept.failed, swept.ends_found) == (1, 1)
    assert "a backend could not be tidied" in plane.notes.warnings()
    assert plane.states(run) == {"a": "completed"}
