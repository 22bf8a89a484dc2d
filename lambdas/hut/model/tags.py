"""Tags of a run: what people note on it, and what bills are told apart by.

They become tags of AWS jobs (`hut.backends.batch.tags`), so they stay within what AWS takes: 50 tags
on a resource, 128 characters in a key, 256 in a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hut.model.problems import Problem, is_one_line

__all__ = ["MOST_TAGS", "tag_problems"]

MOST_TAGS = 40
"""Tags of a run; the rest of AWS's 50 is Hut's own and the job definition's."""

_LONGEST_KEY = 120
_LONGEST_VALUE = 256


def tag_problems(tags: Mapping[str, str], field: str = "tags") -> Iterator[Problem]:
    """Yield what is wrong with the tags of a run."""
    if len(tags) > MOST_TAGS:
        yield Problem(f"a run may have {MOST_TAGS} tags, not {len(tags):,}", field=field)
    for key, value in tags.items():
        place = f"{field}.{key[:_LONGEST_KEY]}"
        if not 1 <= len(key) <= _LONGEST_KEY or not is_one_line(key):
            message = f"a tag's name has 1 to {_LONGEST_KEY} characters, none of them control"
            yield Problem(message, field=place)
        if len(value) > _LONGEST_VALUE or not is_one_line(value):
            message = f"a tag's value has at most {_LONGEST_VALUE} characters, none of them control"
            yield Problem(message, field=place)
