"""A deployment seen by its operator: its functions, tables, queues and what calls the functions.

It is found by its names, which begin with the prefix, with the operator's own credentials: recovery must
work while the API does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import click
from botocore.exceptions import ClientError

from hut.store.dynamodb import DynamoStore, StoreOptions
from hut.store.dynamodb.table import Table
from hutctl.remote.account import Account
from hutctl.remote.targets import Target

__all__ = ["Place"]

_CALLED = ("api", "register", "finish")
"""Functions that are called by others than mappings and the schedule."""


class Place:
    """The deployment behind a target.

    Parameters
    ----------
    target
        Its prefix, region and profile count; its address does not.
    """

    def __init__(self, target: Target) -> None:
        self.prefix = target.prefix or "hut"
        self._account = Account(target.name, target.profile, target.region)
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the client of a service."""
        if service not in self._clients:
            self._clients[service] = self._account.client(service)
        return self._clients[service]

    # What there is -------------------------------------------------------------------------------

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """What the stack tells the function that sweeps.

        Raises
        ------
        click.UsageError
            If there is no such function.
        """
        name = self.function("sweep")
        try:
            found = self.client("lambda").get_function_configuration(FunctionName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            raise click.UsageError(
                f"there is no function {name} in {self._account.region}; is the target's prefix "
                f"{self.prefix!r} right? 'hutctl target add' looks for it anew"
            ) from None
        variables: Mapping[str, str] = found["Environment"]["Variables"]
        return variables

    def function(self, name: str) -> str:
        """Return the name of a function in the account."""
        return f"{self.prefix}-{name}"

    @property
    def machine(self) -> str:
        """The ARN of the state machine of runs."""
        return self.environment["HUT_STATE_MACHINE_ARN"]

    @property
    def queues(self) -> Sequence[str]:
        """The job queues of all backends."""
        found = [each.get("queues") or {} for each in self._backends]
        return list(dict.fromkeys(arn for queues in found for arn in queues.values()))

    @property
    def task_machines(self) -> Sequence[str]:
        """The ARNs of the state machines of EC2 tasks."""
        found = [each.get("machine") for each in self._backends]
        return list(dict.fromkeys(str(arn) for arn in found if arn))

    @property
    def _backends(self) -> list[dict[str, Any]]:
        backends: list[dict[str, Any]] = json.loads(self.environment.get("HUT_BACKENDS", "[]"))
        return backends

    @cached_property
    def table(self) -> Table:
        """The table of runs."""
        return self.table_named(self.environment["HUT_TABLE"])

    def table_named(self, name: str) -> Table:
        """Return a table of the account."""
        return Table(self.client("dynamodb"), name)

    def store(self) -> DynamoStore:
        """Return the store of runs, with nothing read yet."""
        options = StoreOptions(
            self.environment["HUT_TABLE"],
            self.environment["HUT_BUCKET"],
            retention_days=int(self.environment["HUT_RETENTION_DAYS"]),
            follow="stream",
        )
        return DynamoStore(self.client("dynamodb"), self.client("s3"), options)

    # Standing still ------------------------------------------------------------------------------

    def stand_still(self) -> None:
        """Let nothing call the functions any more; those that run go on to their end."""
        self._switch(on=False)
        for name in _CALLED:
            self.client("lambda").put_function_concurrency(
                FunctionName=self.function(name), ReservedConcurrentExecutions=0
            )

    def stands_still(self) -> bool:
        """Say whether nothing calls the functions."""
        if self._schedule()["State"] == "ENABLED":
            return False
        if any(mapping["State"] != "Disabled" for mapping in self._mappings()):
            return False
        client = self.client("lambda")
        found = [client.get_function_concurrency(FunctionName=self.function(n)) for n in _CALLED]
        return all(each.get("ReservedConcurrentExecutions") == 0 for each in found)

    def go_on(self, stamp: str) -> None:
        """Let the functions be called again, each by a new process.

        Parameters
        ----------
        stamp
            Put into their environment: Lambda starts new processes where that has changed. Those that
            are there may remember tasks that are not those of the table any more.
        """
        client = self.client("lambda")
        for name in self._functions():
            config = client.get_function_configuration(FunctionName=name)
            variables = config["Environment"]["Variables"] | {"HUT_RESTARTED": stamp}
            client.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )
        for name in self._functions():
            client.get_waiter("function_updated_v2").wait(FunctionName=name)
        for name in _CALLED:
            client.delete_function_concurrency(FunctionName=self.function(name))
        self._switch(on=True)

    def _functions(self) -> list[str]:
        names = ("api", "register", "advance", "observe", "sweep", "finish")
        return [self.function(name) for name in names]

    def _switch(self, *, on: bool) -> None:
        """Switch on or off what calls functions by itself: mappings and the schedule."""
        for mapping in self._mappings():
            self.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=on)
        schedule = self._schedule()
        kept = (
            *("Name", "GroupName", "ScheduleExpression", "ScheduleExpressionTimezone"),
            *("FlexibleTimeWindow", "Target", "Description", "KmsKeyArn"),
        )
        wanted = {name: schedule[name] for name in kept if schedule.get(name)}
        state = "ENABLED" if on else "DISABLED"
        self.client("scheduler").update_schedule(**wanted, State=state)

    def _mappings(self) -> list[dict[str, Any]]:
        pages = self.client("lambda").get_paginator("list_event_source_mappings")
        return [
            mapping
            for name in ("advance", "observe")
            for page in pages.paginate(FunctionName=self.function(name))
            for mapping in page["EventSourceMappings"]
        ]

    def _schedule(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client("scheduler").get_schedule(Name=f"{self.prefix}-sweep")
        return found
