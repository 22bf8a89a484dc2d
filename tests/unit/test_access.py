"""Who may call which route: nothing is forgotten, and no path of one role is let through as another's."""

import re

import pytest

from hut.model.access import ROUTES, Role, allowed, includes, patterns_of, policy_name, role_needed
from hut.rest.openapi import openapi_document
from tests.access.routes import CALLERS, ROLES, expectations

TRICKS = (
    "x",
    "a.b",
    "runs",
    "cancel",
    "retry",
    "audit",
    "x/cancel",
    "x%2Fcancel",
    "../plan",
    "*",
    "",
)


def in_document():
    return {
        (method.upper(), path)
        for path, methods in openapi_document()["paths"].items()
        for method in methods
    }


def filled(path, text):
    return re.sub(r"\{[^}]*\}", lambda _: text, path)


def test_every_route_has_a_role():
    assert in_document() == set(ROUTES), (
        "each route of the API has a line in hut.model.access.ROUTES, and no other has"
    )


def test_the_reviewed_table_has_every_route_once():
    reviewed = [(each.method, each.route) for each in expectations()]
    assert sorted(reviewed) == sorted(in_document())


def test_the_reviewed_table_says_what_the_model_says():
    """Who is told nothing of a role gets in nowhere; a status is the same for all who get in."""
    for each in expectations():
        least = ROUTES[each.method, each.route]
        for caller in CALLERS:
            assert each.may(caller) is (caller in ROLES and includes(ROLES[caller], least)), each
        assert len({status for status in each.answers.values() if status is not None}) == 1, each


def test_who_may_only_look_may_not_change():
    for (method, path), role in ROUTES.items():
        assert role is not Role.READER or method == "GET" or path == "/plan", path
        if method in ("PUT", "DELETE"):
            assert role in (Role.ADMIN, Role.WORKER), path


def test_workers_have_their_own_routes_and_no_others():
    """What people may, and what machines may, is apart: only who may everything may both."""
    ours = [path for (_, path), least in ROUTES.items() if includes(Role.WORKER, least)]
    assert len(ours) == 3
    assert all(path.startswith("/pools/{pool}/workers") for path in ours)
    assert not includes(Role.SUBMITTER, Role.WORKER)
    assert includes(Role.ADMIN, Role.WORKER)


@pytest.mark.parametrize("role", Role)
def test_a_policy_lets_through_what_its_role_may(role):
    patterns = patterns_of(role)
    for (method, path), least in ROUTES.items():
        if includes(role, least):
            for text in ("r1", "a.b-c_d"):
                assert allowed(patterns, method, filled(path, text)), path


@pytest.mark.parametrize("role", [Role.WORKER, Role.READER, Role.SUBMITTER])
@pytest.mark.parametrize("text", TRICKS)
def test_a_policy_lets_nothing_through_of_a_higher_role(role, text):
    """``*`` matches slashes: whatever stands in a path, its method and its ends decide."""
    patterns = patterns_of(role)
    for (method, path), least in ROUTES.items():
        if not includes(role, least):
            for end in ("", "/", "//", "?", "%20"):
                assert not allowed(patterns, method, filled(path, text) + end), path


@pytest.mark.parametrize("role", [Role.READER, Role.SUBMITTER])
@pytest.mark.parametrize(
    "request_line",
    [
        "HEAD /runs",
        "get /runs",
        "PUT /runs/r1",
        "DELETE /runs/r1",
        "PATCH /runs/r1",
        "OPTIONS /runs",
        "GET /",
        "GET /RUNS",
        "GET //runs",
        "GET /runsx",
        "POST /runs/",
        "POST /runs/../audit",
        "POST /plan/../runs/",
        "POST /runs/r1/cancel/x",
        "POST /runs%2Fr1%2Fcancel",
    ],
)
def test_what_is_no_route_is_nobodys_but_an_admins(role, request_line):
    method, path = request_line.split()
    assert not allowed(patterns_of(role), method, path)
    assert allowed(patterns_of(Role.ADMIN), method, path)
    assert role_needed(method, path) is None


def test_patterns_that_say_nothing_more_are_left_out():
    patterns = patterns_of(Role.SUBMITTER)
    assert "GET/runs/*" in patterns
    assert not any(pattern.startswith("GET/runs/*/") for pattern in patterns)
    assert len(patterns) < len(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/runs", Role.READER),
        ("GET", "/runs/r1/tasks/a.b/logs/output", Role.READER),
        ("POST", "/plan", Role.READER),
        ("POST", "/runs", Role.SUBMITTER),
        ("POST", "/pools/gpu/workers/w-1/turn", Role.WORKER),
        ("POST", "/pools/gpu/workers/w-1/drain", Role.ADMIN),
        ("POST", "/runs/r1/cancel", Role.SUBMITTER),
        ("POST", "/runs/r%2F1/cancel", Role.SUBMITTER),
        ("POST", "/runs/r/1/cancel", None),
        ("POST", "/runs/r1", None),
        ("GET", "/nothing", None),
    ],
)
def test_the_role_that_a_request_needs(method, path, role):
    assert role_needed(method, path) is role


def test_policies_are_named_after_the_deployment():
    names = ["HutWorker", "HutReader", "HutSubmitter", "HutAdmin"]
    assert [policy_name("hut", role) for role in Role] == names
    assert policy_name("lab", Role.ADMIN) == "LabAdmin"
