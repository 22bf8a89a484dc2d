"""The ``observe`` Lambda: what Batch, Step Functions, SSM and EC2 say, through EventBridge and SQS.

And what jobs that run several tasks say of them in their log, through a subscription.

Messages of one run are taken together. Those that can't be recorded yet go back to the queue alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from handlers.wiring import surroundings
from hut.backends.batch import job_from_detail
from hut.backends.port import Job, JobName, parse_job_name
from hut.logs import new_logger
from hut.measuring import measure, measured
from hut.metrics import Metric
from hut.model.states import Reason
from hut.service import hearing
from hut.service.observing import Observed, Observing, Seen
from hut.service.surroundings import Surroundings
from hut.store.port import StoreError, UnknownRun

__all__ = ["handler"]

_PAUSES = (1.0, 3.0, 6.0)  # seconds

logger = new_logger()


@measured
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Record what some messages say; answer which are to be delivered again."""
    around = surroundings(logger, context)
    if "awslogs" in event:
        return _take_in_log(around, event)
    failed: set[str] = set()
    seen: dict[str, list[tuple[str, JobName, Job]]] = defaultdict(list)
    news: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for record in event["Records"]:
        message_id = record["messageId"]
        try:
            told = json.loads(record["body"])
            if told["source"] in hearing.NEWS:
                news[told["detail"]["instance-id"]].append((message_id, told["source"]))
                continue
            for job in _jobs(around, told):
                name = parse_job_name(job.name)
                if name is not None and name.prefix == around.prefix:
                    seen[name.run_id].append((message_id, name, job))
        except Exception:  # a message that can't be read must not keep the others
            logger.exception("a message could not be taken in")
            failed.add(message_id)
    early = _nudge(around, news, failed)
    observing = Observing(around)
    for run_id, jobs in seen.items():
        logger.append_keys(run=run_id)
        failed |= _take_in(observing, around, run_id, jobs)
    _nudge_again(around, early, failed)
    return {"batchItemFailures": [{"itemIdentifier": each} for each in sorted(failed)]}


def _take_in_log(around: Surroundings, event: dict[str, Any]) -> dict[str, Any]:
    """Record what a log tells of tasks in bundles; what can't be recorded, the end of their job tells."""
    told: dict[str, list[Seen]] = defaultdict(list)
    for name, job in hearing.jobs_in_log(event):
        if name.prefix == around.prefix:
            told[name.run_id].append((name, job))
    observing = Observing(around)
    for run_id, seen in told.items():
        logger.append_keys(run=run_id)
        try:
            observing.observe(run_id, seen)
        except Exception:  # one broken run must not keep the others
            logger.exception("what a log tells of a run could not be taken in")
            measure(Metric.OBSERVE_FAILED)
    return {}


def _jobs(around: Surroundings, told: dict[str, Any]) -> Sequence[Job]:
    """Return the jobs that a message tells of."""
    source, detail = told["source"], told["detail"]
    if source == hearing.OF_POOLS:
        return hearing.jobs_of_pool(detail)
    if source == "hut.ec2":
        return [hearing.job_of_start(detail)]
    if source == "aws.states":
        if hearing.is_of_task(around, detail):
            job = hearing.job_of_execution(around, detail)
            return [] if job is None else [job]
        _execution_ended(around, detail)
        return []
    return [job_from_detail(detail)]


_News = Mapping[str, Sequence[tuple[str, str]]]  # by instance: messages, and their sources


def _nudge(around: Surroundings, news: _News, failed: set[str]) -> _News:
    """Pass on news of instances; return those of commands that it is too early for."""
    early: dict[str, Sequence[tuple[str, str]]] = {}
    for instance, messages in news.items():
        try:
            # An instance that goes while it starts is seen by its execution, which asks all the time.
            too_early = hearing.is_too_early(around, instance)
            if too_early and any(source == "aws.ssm" for _, source in messages):
                early[instance] = messages
        except Exception:  # as above
            logger.exception("news of an instance could not be passed on")
            failed |= {message_id for message_id, _ in messages}
    return early


def _nudge_again(around: Surroundings, early: _News, failed: set[str]) -> None:
    """Pass news on again a few times; what stays too early its execution finds by itself."""
    for pause in _PAUSES:
        if not early or not around.has_time():
            return
        around.sleep(pause)
        early = _nudge(around, early, failed)


def _take_in(
    observing: Observing,
    around: Surroundings,
    run_id: str,
    jobs: Sequence[tuple[str, JobName, Job]],
) -> set[str]:
    """Record what is said of jobs of one run; return the messages that are to be delivered again."""
    try:
        observed = _observe(observing, around, run_id, [(name, job) for _, name, job in jobs])
    except Exception:  # one broken run must not keep the others
        logger.exception("jobs of a run could not be taken in")
        measure(Metric.OBSERVE_FAILED)
        if len(jobs) == 1 or not around.has_time():
            return {message_id for message_id, _, _ in jobs}
        # It may be for one message that tells nonsense: only that one is to end in the dead letters.
        half = len(jobs) // 2
        return _take_in(observing, around, run_id, jobs[:half]) | _take_in(
            observing, around, run_id, jobs[half:]
        )
    return {message_id for message_id, _, job in jobs if job.handle in observed.later}


def _observe(
    observing: Observing, around: Surroundings, run_id: str, seen: Sequence[Seen]
) -> Observed:
    """Observe jobs, and again after a moment those whose end must wait: a message takes minutes."""
    observed = _once(observing, run_id, seen)
    for pause in _PAUSES:
        if not observed.later or not around.has_time():
            break
        around.sleep(pause)
        again = _once(
            observing, run_id, [each for each in seen if each[1].handle in observed.later]
        )
        observed = Observed([*observed.ended, *again.ended], again.later)
    return observed


def _once(observing: Observing, run_id: str, seen: Sequence[Seen]) -> Observed:
    """Observe jobs; where too many others change the run at this moment, all of them must wait."""
    try:
        return observing.observe(run_id, seen)
    except StoreError as error:
        logger.warning("a run is changed by others", error=str(error))
        return Observed(later={job.handle for _, job in seen})


def _execution_ended(around: Surroundings, detail: dict[str, Any]) -> None:
    """Cancel the run whose execution was stopped from outside."""
    run_id, _, generation = str(detail["name"]).rpartition("-")
    try:
        run, standing = around.store.get_run(run_id), around.store.standing(run_id)
    except UnknownRun:
        return
    if run.ended_at is None and str(standing.generation) == generation:
        logger.warning("the execution was stopped", run=run_id, status=detail["status"])
        if detail["status"] != "ABORTED" and run.cancel_requested_at is None:  # nobody wanted it
            measure(Metric.EXECUTIONS_BROKEN)
        around.store.cancel_run(run_id, Reason.CANCELLED, around.clock())
