"""The interpreter of the Amazon States Language, on small machines of its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.asl import Answer, Execution, Interpreter, StatesError
from tests.simulation.asl_machine import Machine, load
from tests.simulation.query_language import Moment, QueryError, compiled
from tests.simulation.timeline import Timeline

DONE = {"Type": "Succeed"}


class Told:
    """A machine, and somebody who answers what it calls."""

    def __init__(self, states: dict[str, Any], **more: Any) -> None:
        self.time = Timeline(1000.0)
        self.calls: list[tuple[float, str, Any]] = []
        self.answers: list[Any] = []
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), **more}
        machine = Machine("m", {**definition, "States": states})
        self.runs = Interpreter(machine, self.time.clock, self.time.at, self._call)

    def _call(self, _: Execution, resource: str, arguments: Any, answer: Answer) -> None:
        self.calls.append((self.time.now, resource, arguments))
        found = self.answers.pop(0) if self.answers else {}
        if found is not None:
            self.time.at(self.time.now, lambda: answer(found))

    def run(self, given: Any = None, *, seconds: float | None = None) -> Execution:
        execution = self.runs.start("e", given or {}, after=0)
        if seconds is None:
            self.time.wait_for_all()
        else:
            self.time.wait(seconds)
        return execution


def task(**fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": "call", "Arguments": {}, **fields}


def test_what_is_assigned_and_what_is_handed_on_are_made_of_what_was_before() -> None:
    told = Told(
        {
            "A": {
                "Type": "Pass",
                "Assign": {"n": "{% $states.input.n %}", "gone": None},
                "Output": {"was": "{% $states.input.n %}", "kept": [1, {"x": "plain"}]},
                "Next": "B",
            },
            "B": {
                "Type": "Pass",
                "Assign": {"n": "{% $n + 1 %}"},
                "Output": "{% $n %}",
                "Next": "C",
            },
            "C": {"Type": "Succeed", "Output": {"n": "{% $n %}", "in": "{% $states.input %}"}},
        }
    )
    execution = told.run({"n": 4})
    assert execution.output == {"n": 5, "in": 4}
    assert execution.variables == {"n": 5, "gone": None}


def test_the_first_choice_that_is_true_is_taken() -> None:
    def choose(given: Any) -> Any:
        states = {
            "A": {
                "Type": "Choice",
                "Choices": [
                    {"Condition": "{% $states.input.n > 2 %}", "Output": "more", "Next": "B"},
                    {
                        "Condition": "{% $states.input.n > 1 %}",
                        "Assign": {"two": True},
                        "Next": "B",
                    },
                ],
                "Output": "less",
                "Default": "B",
            },
            "B": DONE,
        }
        execution = Told(states).run(given)
        return execution.status, execution.output, execution.variables, execution.error

    assert choose({"n": 3}) == ("SUCCEEDED", "more", {}, "")
    assert choose({"n": 2}) == ("SUCCEEDED", {"n": 2}, {"two": True}, "")
    assert choose({"n": 1}) == ("SUCCEEDED", "less", {}, "")
    assert choose({"n": "x"})[3] == "States.QueryEvaluationError"


def test_a_task_calls_and_hands_on_its_result() -> None:
    told = Told(
        {
            "A": task(
                Resource="arn:aws:states:::aws-sdk:ec2:runInstances",
                Arguments={"Name": "{% $states.context.Execution.Name %}", "N": 1},
                Assign={"first": "{% $states.result.Instances[0].InstanceId %}"},
                Next="B",
            ),
            "B": {"Type": "Succeed", "Output": "{% [$first, $states.input.Instances[0].At] %}"},
        }
    )
    told.answers = [{"Instances": [{"InstanceId": "i-1", "At": 5.0}]}]
    assert told.run().output == ["i-1", 5]
    assert told.calls == [
        (1000.0, "arn:aws:states:::aws-sdk:ec2:runInstances", {"Name": "e", "N": 1})
    ]


def test_each_retrier_counts_its_own_tries_and_what_is_left_is_caught() -> None:
    retry = [
        {"ErrorEquals": ["Busy"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 2},
        {"ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "MaxDelaySeconds": 1},
    ]
    catch = [
        {"ErrorEquals": ["Other"], "Next": "C"},
        {
            "ErrorEquals": ["States.TaskFailed"],
            "Assign": {"why": "{% $states.errorOutput.Cause %}"},
            "Output": "{% $states.errorOutput.Error & ' ' & $states.input.n %}",
            "Next": "C",
        },
    ]
    told = Told({"A": task(Retry=retry, Catch=catch, Next="B"), "B": DONE, "C": DONE})
    busy = StatesError("Busy", "too many")
    told.answers = [busy, StatesError("Odd"), busy, busy]
    execution = told.run({"n": 7})
    assert execution.output == "Busy 7"
    assert execution.variables == {"why": "too many"}
    assert [at for at, _, _ in told.calls] == [1000, 1002, 1003, 1009]


def test_what_nobody_catches_fails_the_execution() -> None:
    told = Told({"A": task(Catch=[{"ErrorEquals": ["States.Timeout"], "Next": "A"}], End=True)})
    told.answers = [StatesError("Ec2.Ec2Exception", "no (Service: Ec2, Status Code: 500)")]
    execution = told.run()
    assert (execution.status, execution.error) == ("FAILED", "Ec2.Ec2Exception")
    assert execution.cause == "no (Service: Ec2, Status Code: 500)"


def waiting(**fields: Any) -> Told:
    wait = task(
        Resource="call.waitForTaskToken",
        Arguments={"token": "{% $states.context.Task.Token %}"},
        TimeoutSeconds="{% $states.input.poll %}",
        Catch=[{"ErrorEquals": ["States.Timeout"], "Output": "late", "Next": "B"}],
        Next="B",
        **fields,
    )
    return Told({"A": wait, "B": DONE})


def test_a_token_is_answered_once_and_only_in_time() -> None:
    told = waiting()
    execution = told.run({"poll": 300}, seconds=100)
    token = told.calls[0][2]["token"]
    assert execution.token == token
    assert told.runs.answer(token, {"ok": 1})
    assert not told.runs.answer(token, {"ok": 2})
    told.time.wait(1)
    assert (execution.status, execution.output) == ("SUCCEEDED", {"ok": 1})
    late = waiting()
    assert late.run({"poll": 300}).output == "late"
    assert late.time.now >= 1300
    assert not late.runs.answer(late.calls[0][2]["token"], {})
    assert not late.runs.knows("made up")


def test_a_call_that_fails_is_not_waited_for() -> None:
    told = waiting(Retry=[{"ErrorEquals": ["Odd"], "MaxAttempts": 1}])
    told.answers = [StatesError("Odd"), {}]
    execution = told.run({"poll": 60}, seconds=30)
    first, second = (arguments["token"] for _, _, arguments in told.calls)
    assert first != second
    assert not told.runs.answer(first, {})
    assert told.runs.answer(second, "yes")
    told.time.wait(1)
    assert execution.output == "yes"


def test_an_answer_that_comes_after_the_end_changes_nothing() -> None:
    told = waiting()
    execution = told.run({"poll": 300}, seconds=10)
    told.runs.stop("e", "Hut.Cancelled", "not wanted")
    assert not told.runs.answer(told.calls[0][2]["token"], {})
    told.time.wait_for_all()
    assert (execution.status, execution.error) == ("ABORTED", "Hut.Cancelled")
    assert execution.ended_at == 1010


def test_waiting_takes_the_time_it_says() -> None:
    wait = {"Type": "Wait", "Seconds": "{% $min([$states.input.n * 2, 15]) %}", "Next": "B"}
    told = Told({"A": wait, "B": {"Type": "Fail", "Error": "E", "Cause": "{% 'c' & 1 %}"}})
    execution = told.run({"n": 4})
    assert (execution.ended_at, execution.error, execution.cause) == (1008.0, "E", "c1")
    told = Told({"A": wait, "B": DONE})
    assert told.run({"n": 0.25}).error == "States.QueryEvaluationError"


def test_a_machine_has_a_time_limit() -> None:
    told = Told({"A": task(End=True)}, TimeoutSeconds=50)
    told.answers = [None]
    execution = told.run()
    assert (execution.status, execution.ended_at) == ("TIMED_OUT", 1050.0)


def test_a_history_has_an_end() -> None:
    wait = {"Type": "Wait", "Seconds": 1, "Next": "A"}
    told = Told({"A": task(Next="B"), "B": wait})
    execution = told.run()
    assert execution.status == "FAILED"
    assert "history" in execution.cause
    assert len(told.calls) == pytest.approx(25_000 / 7, abs=2)


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ({"Type": "Pass", "Parameters": {}, "End": True}, "Parameters"),
        ({"Type": "Pass", "Next": "B"}, "B"),
        ({"Type": "Pass"}, "Next or End"),
        ({"Type": "Map", "End": True}, "Map"),
        ({"Type": "Task", "Resource": "x", "End": True, "Retry": [{"Errors": []}]}, "Errors"),
    ],
)
def test_what_is_not_known_is_refused(state: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Machine("m", {"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": state}})


def test_placeholders_are_filled_in() -> None:
    states = {"A": task(Resource="arn:${P}:x", Arguments={"T": "${Table}"}, End=True)}
    definition = {"QueryLanguage": "JSONata", "StartAt": "A", "States": states}
    machine = load("m", definition, {"P": "aws", "Table": "t"})
    assert machine.states["A"].resource == "arn:aws:x"
    assert machine.states["A"].given["Arguments"]({}, Moment(0.0)) == {"T": "t"}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$floor($millis() / 1000)", 5),
        ("$exists($null) and $not($exists($none))", True),
        ("$null", None),
        ("$random() * 2", 1),
        ("10 / 2", 5),
        ("$string(10 / 2)", "5"),
        ("$parse('{\"a\": null}')", {"a": None}),
        ("$merge([{'a': $null}, {'b': 1}])", {"a": None, "b": 1}),
        ("$contains('Insufficient Capacity', /capacity/i)", True),
        ("[$list.a]", [1]),
        ("$list[a = 1]", {"a": 1}),
    ],
)
def test_expressions_have_the_values_of_json(expression: str, value: Any) -> None:
    variables: dict[str, Any] = {"states": {}, "null": None, "list": [{"a": 1}, {"b": 2}]}
    assert compiled(f"{{% {expression} %}}")(variables, Moment(5.5)) == value


@pytest.mark.parametrize(
    "expression", ["$none", "$list.c", "{'a': 1}.b", "$parse('{')", "1 + 'a'", "$uuid()", "$sum"]
)
def test_what_has_no_value_is_an_error(expression: str) -> None:
    with pytest.raises(QueryError):
        compiled([f"{{% {expression} %}}"])({"states": {}, "list": []}, Moment(0.0))
