"""Tags of a run: what people note on it, and what bills are told apart by.

They become tags of AWS jobs (`hut.backends.tags`), so they stay within what AWS takes: 50 tags
on a resource, 128 characters in a key, 256 in a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hut.model.limits import LONGEST_TAG, LONGEST_TAG_VALUE, MOST_RUN_TAGS
from hut.model.problems import Problem, is_one_line

__all__ = ["tag_problems"]


def tag_problems(tags: Mapping[str, str], field: str = "tags") -> Iterator[Problem]:
    """Yield what is wrong with the tags of a run."""
    if len(tags) > MOST_RUN_TAGS:
        yield Problem(f"a run may have {MOST_RUN_TAGS} tags, not {len(tags):,}", field=field)
    for key, value in tags.items():
        place = f"{field}.{key[:LONGEST_TAG]}"
        if not 1 <= len(key) <= LONGEST_TAG or not is_one_line(key):
            message = f"a tag's name has 1 to {LONGEST_TAG} characters, none of them control"
            yield Problem(message, field=place)
        if len(value) > LONGEST_TAG_VALUE or not is_one_line(value):
            message = (
                f"a tag's value has at most {LONGEST_TAG_VALUE} characters, none of them control"
            )
            yield Problem(message, field=place)
