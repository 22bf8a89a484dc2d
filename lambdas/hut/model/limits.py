"""How large things may be: every bound on what people write, in one place, the same on AWS and locally.

Each is far above what a workflow needs and below what the next layer refuses, cuts or chokes on; why
it is where it is stands beside it. What follows from AWS alone (what a job may hold, how large a
generated file may be there) stays with its backend. The table in ``docs/limits.md`` is held against
this module by a test.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DEEPEST",
    "LARGEST_BUNDLE",
    "LARGEST_DOCUMENT",
    "LARGEST_INPUT",
    "LARGEST_VALUE",
    "LARGEST_VARIABLES",
    "LARGEST_YAML",
    "LONGEST_COMMAND",
    "LONGEST_DESCRIPTION",
    "LONGEST_NAME",
    "LONGEST_PATH",
    "LONGEST_PATTERN",
    "LONGEST_TAG",
    "LONGEST_TAG_VALUE",
    "LONGEST_TASK_ID",
    "LONGEST_VARIABLE",
    "MOST_BUNDLE_SLOTS",
    "MOST_COMPARISONS",
    "MOST_DEPS",
    "MOST_EDGES",
    "MOST_PROBLEMS",
    "MOST_REPEATED",
    "MOST_RUN_TAGS",
    "MOST_TAGS",
    "MOST_TASKS",
    "MOST_VARIABLES",
]

# Documents ---------------------------------------------------------------------------------------

LARGEST_DOCUMENT: Final = 256 * 1024 * 1024
"""Bytes of a workflow file: a million tasks of 250."""

LARGEST_YAML: Final = 16 * 1024 * 1024
"""Characters of a YAML document, which takes a hundred times as long to read as JSON."""

DEEPEST: Final = 200
"""Objects and arrays inside of each other; a workflow file has four."""

MOST_REPEATED: Final = 1_000_000
"""Entries that YAML aliases may add to those that are written."""

MOST_PROBLEMS: Final = 1000
"""Problems of a file that are told; then reading stops."""

# Tasks -------------------------------------------------------------------------------------------

MOST_TASKS: Final = 1_000_000
"""Of a run, those included that were generated."""

LARGEST_BUNDLE: Final = 10_000
"""Tasks that one job may run; as many are claimed before anything is submitted."""

MOST_BUNDLE_SLOTS: Final = 256
"""Of them at a time; the largest machines have fewer vCPUs."""

LONGEST_TASK_ID: Final = 200
"""Characters; with what is put around it, it still names a file (255 bytes) and a tag's value."""

LONGEST_NAME: Final = 1024
"""Characters of names of runs, tasks, groups, partitions, images, backends and environments."""

LONGEST_COMMAND: Final = 1024 * 1024
"""Characters of a command, or of an environment's init lines."""

LARGEST_INPUT: Final = 1024 * 1024
"""Characters of a task's input document; what is larger comes from another task's output."""

LONGEST_DESCRIPTION: Final = 10_000
"""Characters; lists of runs hold it."""

LONGEST_PATH: Final = 4095
"""Bytes: PATH_MAX of Linux without the NUL at its end."""

MOST_DEPS: Final = 100_000
"""Entries in one task's list; patterns mean as many tasks as there are."""

LONGEST_PATTERN: Final = 500
"""Characters of a dependency's pattern, and of the one that lists of tasks are searched by."""

MOST_EDGES: Final = 20_000_000
"""Dependencies of all tasks together, those of a shared pattern counted once: memory."""

MOST_COMPARISONS: Final = 100_000_000
"""Ids that patterns without a literal beginning or end are compared with: time."""

# Variables and tags ------------------------------------------------------------------------------

MOST_VARIABLES: Final = 1000
"""In one mapping of variables."""

LONGEST_VARIABLE: Final = 255
"""Characters of a variable's name."""

LARGEST_VALUE: Final = 100_000
"""Bytes of a variable's value: Linux starts no program with 128 KiB in one of them."""

LARGEST_VARIABLES: Final = 500_000
"""Bytes of one mapping of variables. Three may meet, and Linux takes 2 MiB of them."""

MOST_TAGS: Final = 100
"""Entries of a task's tags or properties."""

MOST_RUN_TAGS: Final = 40
"""Tags of a run; the rest of AWS's 50 is Hut's own and the job definition's."""

LONGEST_TAG: Final = 120
"""Characters of a tag's name; AWS takes 128, and Hut puts ``hut:tag:`` in front."""

LONGEST_TAG_VALUE: Final = 256
"""Characters of a tag's value, as AWS has it."""
