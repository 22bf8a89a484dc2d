"""The ``advance`` Lambda: reads the table's stream and the wake queue, brings runs forward.

A batch of the stream is folded: each run in it is advanced once, for all of its ends. A run that
fails is handed to the wake queue, where it is tried again by itself and ends in the dead letters if
it never works; the other runs of the batch, and the stream behind it, go on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from handlers.wiring import surroundings
from hut.logs import new_logger
from hut.measuring import measure, measured
from hut.metrics import Metric
from hut.service.advancing import Advancing
from hut.store.dynamodb.log import Told, told
from hut.store.port import UnknownRun

__all__ = ["handler"]

logger = new_logger()


@measured
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Advance the runs of some records; answer which records are to be told again."""
    around = surroundings(logger, context)
    advancing = Advancing(around)
    failures: list[dict[str, str]] = []
    ended: dict[str, dict[int, None]] = defaultdict(dict)
    signalled: set[str] = set()
    first: dict[str, str] = {}
    since: dict[str, float | None] = {}
    for record in event["Records"]:
        if record["eventSource"] == "aws:sqs":
            # What there is no time for comes again, with other messages beside it.
            if (record is not event["Records"][0] and not around.has_time()) or not _take(
                advancing, record
            ):
                failures.append({"itemIdentifier": record["messageId"]})
            continue
        news = _news(record)
        if news is None:
            continue
        first.setdefault(news.run_id, record["dynamodb"]["SequenceNumber"])
        since.setdefault(news.run_id, record["dynamodb"].get("ApproximateCreationDateTime"))
        ended[news.run_id].update(dict.fromkeys(news.ended))
        if news.signalled:
            signalled.add(news.run_id)
    for run_id, positions in ended.items():
        there_is_time = around.has_time() or run_id == next(iter(ended))
        signal = run_id in signalled
        if there_is_time and _advance(
            advancing, run_id, tuple(positions), wholly=signal, since=since[run_id]
        ):
            continue
        try:
            around.wakes.wake(run_id, 1.0, tuple(positions))
        except Exception:  # the stream keeps the record, so nothing is lost
            logger.exception("the run could not be handed on")
            failures.append({"itemIdentifier": first[run_id]})
    return {"batchItemFailures": failures}


def _news(record: dict[str, Any]) -> Told | None:
    """Return what a record of the stream tells; of one that can't be read, to look at all of its run.

    It would be no better the next time, and the stream would stand still behind it. What it told is
    found in the table: of the run now, of anything else by the sweep.
    """
    image: dict[str, Any] = record["dynamodb"].get("NewImage", {})
    try:
        return told(image)
    except Exception:  # whatever is wrong with it
        logger.exception("a record of the stream could not be read")
        run_id = image.get("run", {}).get("S")
        return Told(run_id, (), signalled=True) if isinstance(run_id, str) and run_id else None


def _take(advancing: Advancing, record: dict[str, Any]) -> bool:
    """Advance the run that a wake message names."""
    try:
        body = json.loads(record["body"])
        run_id, positions = str(body["run"]), tuple(int(each) for each in body.get("ended", ()))
    except Exception:  # numbers without an end, brackets without one: the others go on
        logger.exception("a message could not be read")
        return False
    return _advance(advancing, run_id, positions)


def _advance(
    advancing: Advancing,
    run_id: str,
    positions: tuple[int, ...],
    *,
    wholly: bool = True,
    since: float | None = None,
) -> bool:
    logger.append_keys(run=run_id)
    try:
        run = advancing.advance(run_id, positions, wholly=wholly, since=since)
    except UnknownRun:
        logger.warning("a run that is not there any more")
        return True
    except Exception:  # one broken run must not keep the others: it is told again by itself
        logger.exception("the run could not be advanced")
        measure(Metric.ADVANCE_FAILED)
        return False
    if run.ended_at is not None:
        logger.info("the run has ended", state=run.state)
    return True
