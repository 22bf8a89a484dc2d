"""Finds jobs by their names with few calls: ListJobs takes one name, or what names begin with.

Some names are asked for one by one. Many are asked for together, by what they all begin with: where
their jobs don't exist that is one call. But the list holds whatever else begins so, in any state, as
long as Batch keeps it (a week or so), a hundred jobs a page. So where it is long it is left, and the
names are asked for again in groups that have more in common. What is known of a group holds whether
or not there is time for the others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from hut.backends.calls import each

__all__ = ["jobs_named"]

_FEW = 8
"""Names that are asked for one by one."""

_MOST_PAGES = 10
"""Pages of a list that are read before its names are asked for in smaller groups."""

_AT_ONCE = 8
"""Groups that are asked for between two looks at the time."""


class _Group(NamedTuple):
    """Names to be looked for in one queue, in their order."""

    queue: str
    names: Sequence[str]

    @property
    def common(self) -> str:
        """What all names begin with: what the first and the last in their order do."""
        first, last = self.names[0], self.names[-1]
        differ = (at for at, pair in enumerate(zip(first, last, strict=False)) if len({*pair}) > 1)
        return first[: next(differ, min(len(first), len(last)))]

    def parts(self) -> list[_Group]:
        """Return smaller groups: of names that have one more letter in common, or of one name."""
        if len(self.names) <= _FEW:
            return [_Group(self.queue, [name]) for name in self.names]
        at = len(self.common)
        return [
            _Group(self.queue, list(names))
            for _, names in groupby(self.names, key=lambda name: name[at : at + 1])
        ]


def jobs_named(
    client: Any, queues: Sequence[str], names: Sequence[str], has_time: Callable[[], bool]
) -> dict[str, list[str]]:
    """Return the ids of the jobs that exist under names, none for a name without any.

    Names that there was no time to look for in all queues are left out.

    Parameters
    ----------
    client
        Of boto3, for Batch.
    has_time
        Says whether to begin with more groups.
    """
    wanted = sorted(set(names))
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    looked: Counter[str] = Counter()

    def look(group: _Group) -> bool:
        """Note the jobs of a group; say whether all of them were seen."""
        is_one = len(group.names) == 1
        begin = group.names[0] if is_one else group.common
        if not begin:
            return False
        of_group = set(group.names)
        filters = [{"name": "JOB_NAME", "values": [begin if is_one else f"{begin}*"]}]
        pages = client.get_paginator("list_jobs").paginate(jobQueue=group.queue, filters=filters)
        for number, page in enumerate(pages, 1):
            for job in page["jobSummaryList"]:
                # The filter does not tell capitals from small letters.
                if job["jobName"] in of_group:
                    found[job["jobName"]][job["jobId"]] = None
            if number == _MOST_PAGES and not is_one and page.get("nextToken"):
                return False
        return True

    groups = [_Group(queue, wanted) for queue in queues] if wanted else []
    if len(wanted) <= _FEW:
        groups = [part for group in groups for part in group.parts()]
    while groups and has_time():
        some, groups = groups[:_AT_ONCE], groups[_AT_ONCE:]
        for group, is_whole in zip(some, each(look, some), strict=True):
            if is_whole:
                looked.update(group.names)
            else:
                # Before the others, so that what was begun is finished for as many names as possible.
                groups = [*group.parts(), *groups]
    return {name: list(found[name]) for name in names if looked[name] == len(queues)}
