"""Arrays: which tasks become one, and what its children run, by real shells."""

import hashlib
import http.server
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hut.backends.batch.arrays import group, plan_array, shape_of, table_key
from hut.backends.batch.jobs import LARGEST_OVERRIDES
from hut.backends.batch.numbering import numbered
from hut.backends.launcher import StoredScript
from hut.backends.markers import Markers, nonce_of_child
from hut.backends.port import (
    ArrayRequest,
    JobRequest,
    array_name,
    child_handle,
    job_name,
    parent_of,
    parse_job_name,
)
from hut.lifecycle.retry import Spent
from hut.model.records import RunSettings
from hut.model.workflow import Resources, TaskSpec
from hut.store.port import AttemptKey, Claim
from tests.batch.plain_batch import options, run_of
from tests.batch.test_launcher import BASICS, EVERY_SHELL, SHELLS, tools

NAME = array_name("hut", "abcdefghij", "0123456789ab")
SHORT = Resources(time_limit=0.5)


def requests_of(*specs, run=None, starts=True):
    run = run or run_of()
    keys = [AttemptKey(position, 1, 2) for position in range(len(specs))]
    return [
        JobRequest(run, Claim(key, spec, Spent()), job_name("hut", run.id, key), starts)
        for key, spec in zip(keys, specs, strict=True)
    ]


def array_of(*specs, **more):
    return ArrayRequest(NAME, requests_of(*specs, **more))


def grouped(*specs, fetches=True, run=None):
    return group(options(), requests_of(*specs, run=run), lambda _: fetches)


def many(count, command="work {}"):
    return [TaskSpec(f"t{i}", command.format(i)) for i in range(count)]


def unlike(count):
    """Tasks that nothing but a table can tell apart."""
    words = [hashlib.sha256(str(i).encode()).hexdigest()[:12] for i in range(count)]
    return [TaskSpec(word, f"work {word}") for word in words]


# Names ----------------------------------------------------------------------------------------------


def test_names_of_arrays_and_jobs_are_told_apart():
    parsed = parse_job_name(NAME)
    assert (parsed.run_id, parsed.key, parsed.array) == ("abcdefghij", None, "0123456789ab")
    assert parse_job_name("hut-abcdefghij-3-1-2").array == ""
    assert parse_job_name("hut-abcdefghij-a12") is None
    assert parent_of(child_handle("job", 7)) == "job"
    assert parent_of("job") == "job"


# Groups ---------------------------------------------------------------------------------------------


def test_ten_thousand_tasks_of_one_shape_are_one_array():
    assert grouped(*many(10_000)) == [list(range(10_000))]


def test_more_than_an_array_holds_are_several():
    assert [len(some) for some in grouped(*many(20_001))] == [10_000, 10_000]


def test_one_task_is_no_array():
    assert grouped(*many(1)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"image": "other"},
        {"partition": "ec2"},
        {"resources": Resources(cpus=2)},
        {"resources": Resources(memory=9000)},
        {"resources": Resources(time_limit=7200)},
        {"resources": SHORT},
        {"output_file": "out"},
        {"error_file": "err"},
        {"generates_source": "more.json"},
        {"env_vars": {"A": "1"}},
        {"command": "x" * 5000},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_shape_is_another_array(change):
    plain = TaskSpec("a", "true")
    other = plain._replace(**change)
    specs = [plain, other, plain._replace(id="b"), other._replace(id="c")]
    assert sorted(grouped(*specs)) == [[0, 2], [1, 3]]


def test_what_may_differ():
    specs = [
        TaskSpec(f"t{i}", f"echo {i}", env_vars={"SEED": str(i)}, output_file=f"{i}.txt")
        for i in range(3)
    ]
    assert grouped(*specs) == [[0, 1, 2]]


@pytest.mark.parametrize("name", ["PATH", "IFS", "HOME", "ENV"])
def test_variables_the_shell_heeds_are_part_of_the_shape(name):
    specs = [TaskSpec(f"t{i}", "true", env_vars={name: value}) for i, value in enumerate("aab")]
    assert grouped(*specs) == [[0, 1]]


def test_empty_and_full_variables_are_two_shapes():
    specs = [TaskSpec(f"t{i}", "true", env_vars={"A": value}) for i, value in enumerate(["", "x"])]
    assert grouped(*specs) == []


def test_what_can_never_run_stands_alone():
    strange = TaskSpec("x", "true", partition="nowhere")
    assert shape_of(options(), requests_of(strange)[0]) is None
    assert grouped(strange, strange._replace(id="y"), *many(2)) == [[2, 3]]


def test_tasks_that_differ_in_their_number_only_need_no_fetching():
    assert grouped(*many(10_000), fetches=False) == [list(range(10_000))]


def test_an_image_that_cannot_fetch_gets_arrays_that_need_not():
    specs = unlike(500)
    groups = grouped(*specs, fetches=False)
    assert sorted(place for some in groups for place in some) == list(range(500))
    assert len(groups) < 25
    for some in groups:
        requests = requests_of(*specs)
        job = plan_array(options(), ArrayRequest(NAME, [requests[place] for place in some]))
        assert job is not None
        assert job.upload is None


def test_a_script_too_large_for_any_array_stands_alone_where_nothing_can_be_fetched():
    specs = [spec._replace(command=f"{spec.command} {spec.id * 1500}") for spec in unlike(3)]
    assert grouped(*specs, fetches=False) == []


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=30), st.booleans())
def test_nothing_is_grouped_twice(images, fetches):
    specs = [TaskSpec(f"t{i}", f"echo {i}", image=image) for i, image in enumerate(images)]
    places = [place for some in grouped(*specs, fetches=fetches) for place in some]
    assert len(places) == len(set(places))
    alone = set(range(len(specs))) - set(places)
    assert all(images.count(images[place]) == 1 for place in alone)


# Jobs -----------------------------------------------------------------------------------------------


def test_an_array_is_a_job_with_a_size():
    job = plan_array(options(), array_of(*many(3)))
    parameters = job.parameters
    assert parameters["jobName"] == NAME
    assert parameters["arrayProperties"] == {"size": 3}
    assert parameters["parameters"] == {"hutStarts": "told"}
    assert "hut:task" not in parameters["tags"]
    environment = {e["name"]: e["value"] for e in parameters["containerOverrides"]["environment"]}
    assert environment["HUT_ATTEMPT"] == "1"
    assert "HUT_TASK_ID" not in environment


def test_starts_of_large_runs_are_not_told():
    assert "parameters" not in plan_array(options(), array_of(*many(3), starts=False)).parameters


def test_a_table_that_does_not_fit_has_to_be_stored():
    array = array_of(*unlike(2000))
    assert plan_array(options(), array) is None
    job = plan_array(options(), array, StoredScript("https://x/" + "y" * 1500, "s3://bucket/key"))
    overrides = json.dumps(job.parameters["containerOverrides"])
    assert len(overrides) <= LARGEST_OVERRIDES
    assert len(job.upload) % 2000 == 0
    assert table_key(array) == "scripts/abcdefghij/a0123456789ab.table"


# Children, run by real shells -----------------------------------------------------------------------


class Table(http.server.BaseHTTPRequestHandler):
    """Answers with the range that is asked for, as S3 does."""

    content = b""
    heeds_ranges = True

    def do_GET(self):
        first, last = 0, len(self.content) - 1
        if self.heeds_ranges and "Range" in self.headers:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        part = self.content[first : last + 1]
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def served():
    """A server of one table: what it has, and its URL."""
    table = type("Served", (Table,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), table)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield table, f"http://127.0.0.1:{server.server_port}/a'b?X=1&Y=2"
    server.shutdown()
    server.server_close()
    thread.join()


class Children:
    """Runs the children of an array with a home of their own."""

    def __init__(self, shell, folder):
        self.shell = [shutil.which(SHELLS[shell][0]), *SHELLS[shell][1:]]
        self.home = folder / "home"
        self.temporary = folder / "tmp dir"
        for each in (self.home, self.temporary):
            each.mkdir()
        self.run = run_of()

    def __call__(self, index, *specs, stored=None, path=None):
        array = array_of(*specs, run=self.run)
        job = plan_array(options(), array, stored)
        assert job is not None
        overrides = job.parameters["containerOverrides"]
        command = [*self.shell, *overrides["command"][1:]]
        environment = {each["name"]: each["value"] for each in overrides["environment"]}
        self.process = subprocess.run(
            command,
            env={
                "PATH": path or os.environ["PATH"],
                "HOME": str(self.home),
                "TMPDIR": str(self.temporary),
                "AWS_BATCH_JOB_ARRAY_INDEX": str(index),
                **environment,
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            check=False,
        )
        self.out = self.process.stdout.decode(errors="replace")
        self.err = self.process.stderr.decode()
        self.markers = Markers(nonce_of_child(NAME, index))
        for line in self.out.split("\n"):
            self.markers.feed(line)
        return self.process.returncode


@pytest.fixture
def children(shell, tmp_path):
    return Children(shell, tmp_path)


SEVERAL = [
    TaskSpec(
        f"t{i}",
        f"echo \"$HUT_TASK_ID $HUT_ATTEMPT $SEED\" '{i}' $((6 * 7)); exit {i}",
        env_vars={"SEED": f"it's {i}\n$(echo no)", "SAME": "x y"},
    )
    for i in range(4)
]


def stored_at(served, specs, place=None):
    table, url = served
    stored = StoredScript(url, place)
    table.content = plan_array(options(), array_of(*specs), stored).upload
    return stored


@EVERY_SHELL
@pytest.mark.parametrize("index", [0, 3])
def test_a_child_finds_its_command_in_the_job(children, index):
    assert children(index, *SEVERAL) == index
    assert children.out == f"t{index} 1 it's {index}\n$(echo no) {index} 42\n"
    assert children.err == ""


@EVERY_SHELL
@pytest.mark.parametrize("index", [0, 3])
def test_a_child_fetches_its_part_of_the_table(children, served, index):
    stored = stored_at(served, SEVERAL)
    assert children(index, *SEVERAL, stored=stored) == index
    assert children.out == f"t{index} 1 it's {index}\n$(echo no) {index} 42\n"
    assert list(children.temporary.iterdir()) == []


@EVERY_SHELL
@pytest.mark.parametrize("tool", ["curl", "wget", "python3"])
def test_any_tool_that_fetches_will_do(children, served, tool, tmp_path):
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here")
    path = tools(tmp_path / "bin", *BASICS, *({tool} - {"python3"}))
    if tool == "python3":  # what is on the path may be a script that needs much else
        (tmp_path / "bin" / tool).write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'
        )
        (tmp_path / "bin" / tool).chmod(0o755)
    assert children(2, *SEVERAL, stored=stored_at(served, SEVERAL), path=path) == 2


@EVERY_SHELL
def test_the_aws_cli_is_given_a_range(children, served, tmp_path):
    stored = stored_at(served, SEVERAL, "s3://bucket/scripts/x y.table")
    copy = tmp_path / "copy"
    copy.write_bytes(served[0].content)
    aws = tmp_path / "bin" / "aws"
    path = tools(tmp_path / "bin", *BASICS, "dd")
    aws.write_text(
        "#!/bin/sh\n"
        '[ "$*" = "s3api get-object --bucket bucket --key scripts/x y.table --range $8 $9" ] || exit 9\n'
        "r=${8#bytes=}\n"
        f'dd if={copy} of="$9" bs=1 skip="${{r%-*}}" count=$((${{r#*-}}-${{r%-*}}+1)) 2>/dev/null\n'
    )
    aws.chmod(0o755)
    assert children(1, *SEVERAL, stored=stored, path=path) == 1


@EVERY_SHELL
def test_a_whole_table_instead_of_a_part_is_noticed(children, served):
    stored = stored_at(served, SEVERAL)
    served[0].heeds_ranges = False
    assert children(0, *SEVERAL, stored=stored) == 0  # its part comes first
    assert children(2, *SEVERAL, stored=stored) == 122
    assert children.markers.not_fetched


@EVERY_SHELL
def test_an_image_that_cannot_fetch_says_so(children, served, tmp_path):
    stored = stored_at(served, SEVERAL)
    path = tools(tmp_path / "bin", *BASICS)
    assert children(1, *SEVERAL, stored=stored, path=path) == 122
    assert children.markers.not_fetched
    assert not children.markers.not_started
    assert list(children.temporary.iterdir()) == []


@EVERY_SHELL
@pytest.mark.parametrize("is_stored", [False, True])
def test_paths_limits_and_generated_files_are_each_childs_own(children, served, is_stored):
    specs = [
        TaskSpec(
            f"t{i}",
            f"echo {i}; echo [{i}] > g.json; [ {i} = 0 ] || sleep 60",
            working_dir=f"dir '{i}'",
            output_file=f"out {i}",
            generates_source="g.json",
            resources=Resources(time_limit=2),
        )
        for i in range(2)
    ]
    for i in range(2):
        (children.home / f"dir '{i}'").mkdir()
    stored = stored_at(served, specs) if is_stored else None
    assert children(0, *specs, stored=stored) == 0
    assert (children.home / "dir '0'" / "out 0").read_text() == "0\n"
    assert children.markers.content() == b"[0]\n"
    assert children(1, *specs, stored=stored) == 124
    assert children.markers.timed_out


@EVERY_SHELL
def test_variables_of_people_reach_the_command_as_they_are(children):
    names = ["T", "c", "m", "p", "t", "g", "_x"]
    spec = TaskSpec("a", "echo " + " ".join(f"${name}" for name in names))
    specs = [
        spec._replace(id=f"t{i}", env_vars={name: f"{name}{i}" for name in names[:-1]})
        for i in range(2)
    ]
    assert children(1, *specs) == 0
    assert children.out.strip() == "T1 c1 m1 p1 t1 g1"


@EVERY_SHELL
@pytest.mark.parametrize("index", [0, 7, 1234])
def test_a_child_works_its_command_out_from_its_number(children, index):
    specs = [
        TaskSpec(
            f"fit.{i:05}",
            f"echo '100% \\n {i}' {7000 - 2 * i} \"$SEED\" $HUT_TASK_ID",
            env_vars={"SEED": f"s-{3 * i + 1}"},
            output_file=f"out-{i % 2000}.txt",
        )
        for i in range(2000)
    ]
    assert children(index, *specs) == 0
    told = f"100% \\n {index} {7000 - 2 * index} s-{3 * index + 1} fit.{index:05}\n"
    written = (children.home / f"out-{index}.txt").read_text()
    assert written.replace("100% \n", "100% \\n") == told


@pytest.mark.parametrize(
    "texts",
    [
        ["a1", "a2", "a4"],
        ["a1", "b2"],
        ["08", "9", "10"],
        ["1", "1", "2"],
        ["a1b1", "a2b3", "a3b4"],
        ["12345678901234567890", "12345678901234567892"],
    ],
    ids=" ".join,
)
def test_what_does_not_follow_the_number_is_not_numbered(texts):
    command = numbered(texts)
    for index, text in enumerate(texts) if command else ():
        assert shown(command, index) == text
    if texts[-1] != "12345678901234567892":
        assert command is None


def shown(command, index):
    done = subprocess.run(["sh", "-c", f"_n={index}; {command}"], capture_output=True, check=True)
    return done.stdout.decode()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(-3, 1000),
    st.integers(0, 8),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), max_size=12),
    st.integers(2, 30),
)
def test_numbers_are_worked_out_as_they_were_written(first, step, width, literal, count):
    texts = [f"{literal}{first + step * i:0{width}}%s\\{literal}" for i in range(count)]
    command = numbered(texts)
    if command is not None:
        assert shown(command, count - 1) == texts[-1]
        assert shown(command, 0) == texts[0]


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(TEXTS, min_size=2, max_size=6, unique=True), data=st.data())
@pytest.mark.parametrize("shell", list(SHELLS)[:1])
def test_any_text_survives(shell, texts, data, tmp_path_factory):
    children = Children(shell, tmp_path_factory.mktemp("child"))
    specs = [
        TaskSpec(f"t{i}", 'printf %s "$A"', env_vars={"A": text}) for i, text in enumerate(texts)
    ]
    index = data.draw(st.integers(0, len(texts) - 1))
    assert children(index, *specs) == 0
    assert children.process.stdout.decode() == texts[index]


def test_settings_of_the_run_are_shared():
    environment = {"variables": {"X": "1"}, "extra_init": "module load x"}
    run = run_of(settings=RunSettings(environments={"e": environment}, environment="e"))
    job = plan_array(options(), array_of(*many(3), run=run))
    overrides = job.parameters["containerOverrides"]
    assert {"name": "X", "value": "1"} in overrides["environment"]
    assert json.dumps(overrides).count("module load x") == 1
