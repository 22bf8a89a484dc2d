"""Tags of jobs: what AWS takes, and nothing that depends on how tasks are put into jobs."""

import pytest

from hut.backends.batch.definitions import Kind, definition_of
from hut.backends.batch.options import Platform
from hut.backends.tags import job_tags
from hut.control import Control
from hut.model.limits import MOST_RUN_TAGS
from hut.model.problems import InvalidInput
from hut.model.records import RunSettings
from hut.model.workflow import TaskSpec
from hut.submission import Setting, Submission
from tests.batch.plain_batch import options, run_of

ON_DEFINITIONS = 5  # that many may a job definition have beside them: together they are AWS's 50


def test_a_job_says_whose_it_is_and_what_for():
    run = run_of(owner="user/alice", settings=RunSettings(tags={"project": "x", "grant": "7"}))
    tags = job_tags(run, TaskSpec("t", "true", tags={"of": "the task"}))
    assert tags == {
        "hut:run": "abcdefghij",
        "hut:workflow": "w",
        "hut:owner": "user/alice",
        "hut:task": "t",
        "hut:tag:project": "x",
        "hut:tag:grant": "7",
    }


def test_a_job_of_several_tasks_names_none():
    assert job_tags(run_of()) == {
        key: text
        for key, text in job_tags(run_of(), TaskSpec("t", "")).items()
        if key != "hut:task"
    }


def test_tags_are_what_aws_takes():
    tags = {"a b": "1", "ä{}": "ö", "k" * 120: "v" * 256}
    run = run_of(
        workflow="nächtlich/{a}",
        owner="role/Dev/alice@example.org",
        settings=RunSettings(tags=tags),
    )
    found = job_tags(run, TaskSpec("t" * 200, "true"))
    assert found["hut:workflow"] == "n_chtlich/_a_"
    assert found["hut:owner"] == run.owner
    assert found["hut:tag:a b"] == "1"
    assert found["hut:tag:___"] == "_"
    assert max(map(len, found)) == 128
    assert max(map(len, found.values())) == 256
    assert len(job_tags(run_of(owner="o" * 999))["hut:owner"]) == 256


def test_no_tag_of_a_person_stands_for_one_of_hut():
    run = run_of(
        owner="user/alice", settings=RunSettings(tags={"owner": "bob", "hut:owner": "bob"})
    )
    found = job_tags(run)
    assert found["hut:owner"] == "user/alice"
    assert found["hut:tag:owner"] == found["hut:tag:hut:owner"] == "bob"


def test_there_is_room_for_all_that_a_run_may_have():
    run = run_of(settings=RunSettings(tags={f"k{number}": "v" for number in range(MOST_RUN_TAGS)}))
    assert len(job_tags(run, TaskSpec("t", "x"))) == 50 - ON_DEFINITIONS - 1


TASKS = '"tasks": [{"id": "t", "command": "true"}]'


def planned(in_file="{}", **more):
    submission = Submission(f'{{{TASKS}, "tags": {in_file}}}', "w.json", "w", **more)
    return Control(None).plan(submission, Setting())[1]


def test_tags_of_the_command_line_win_over_those_of_the_file():
    settings = planned('{"a": "file", "b": "file", "n": 1}', tags={"b": "given"})
    assert settings.tags == {"a": "file", "b": "given", "n": "1"}
    assert planned('["nightly", "team:x"]').tags == {"nightly": "", "team": "x"}


@pytest.mark.parametrize(
    ("file", "given", "told"),
    [
        ('{"": "x"}', {}, "1 to 120"),
        ("{}", {"k" * 121: "x"}, "1 to 120"),
        ("{}", {"k": "x" * 257}, "at most 256"),
        ('{"k": "a\\nb"}', {}, "none of them control"),
        ("{}", {f"k{n}": "" for n in range(41)}, "may have 40 tags, not 41"),
        ('{"a": "1", "b": "2"}', {f"k{n}": "" for n in range(39)}, "may have 40 tags, not 41"),
    ],
)
def test_tags_that_aws_would_not_take_are_told_before_anything_is_stored(file, given, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        planned(file, tags=given)
    assert "tags" in caught.value.problems[0].field


def test_definitions_have_few_tags():
    definition = definition_of(options(), Kind("image", Platform.FARGATE))
    assert len(definition["tags"]) <= ON_DEFINITIONS
