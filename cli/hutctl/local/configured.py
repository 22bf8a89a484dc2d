"""What the configuration says of a folder, for a run of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hut.model.problems import InvalidInput
from hut.model.records import RunRecord
from hut.store.registry import KnownDefinitions
from hut.store.sqlite import SqliteStore
from hut.submission import Setting
from hutctl.configuration import find_configuration, load_configuration
from hutctl.local.driving import Machine
from hutctl.local.home import Home
from hutctl.local.pool.choosing import kept_pool, pool_of, pool_setting

if TYPE_CHECKING:
    from hut.model.configuration import Configuration

__all__ = ["Configured"]


@dataclass(frozen=True, slots=True)
class Configured:
    """Finds the configuration of a folder, and says what it is for runs.

    Attributes
    ----------
    config : str or None
        Path of the configuration file, if it was named.
    say
        Tells a person something.
    tell_path : bool
        Whether to say which file it is.
    """

    config: str | None
    home: Home
    store: SqliteStore
    say: Callable[[str], None]
    tell_path: bool = False

    def setting(
        self, folder: str, backend: str | None = None, pool: str | None = None
    ) -> tuple[Setting, Machine]:
        """Return what the configuration for a folder says.

        Parameters
        ----------
        backend
            Where the run's tasks go; a pool if the configuration says so.
        pool
            A pool they go to, whether it is configured or not.

        Raises
        ------
        InvalidInput
            If the configuration is at fault.
        """
        setting, machine = self._place(folder, backend, pool)
        return replace(setting, definitions=KnownDefinitions(self.store.registry)), machine

    def _place(self, folder: str, backend: str | None, pool: str | None) -> tuple[Setting, Machine]:
        path = find_configuration(self.config, folder)
        if path is None:
            if pool is not None:
                return pool_setting(self.home, pool, folder)
            return Setting(base_dir=folder, queues=False), Machine()
        if self.tell_path:
            self.say(f"configuration: {path}")
        configuration = load_configuration(path)
        if (
            found := pool_of(configuration, pool or backend, required=pool is not None)
        ) is not None:
            return pool_setting(self.home, pool or backend or "", folder, configuration, found)
        local = configuration.local_backend()
        others = {
            entry.name: f"is of type {entry.type}, {_elsewhere(entry.type)}"
            for entry in configuration.backends
            if entry != local
        }
        setting = Setting(
            environments=configuration.environments_by_name(),
            backends=(local.name,),
            elsewhere=others,
            base_dir=folder,
            queues=False,
            sites=_sites(configuration),
        )
        return setting, Machine(local.name, local.max_concurrent, local.kill_grace)

    def machine(self, run: RunRecord) -> Machine:
        """Return how to run the tasks of a run; a configuration that broke since is no obstacle."""
        try:
            return self.setting(run.settings.base_dir, pool=kept_pool(run))[1]
        except InvalidInput as error:
            self.say(f"the configuration is at fault and is left out: {error}")
            pool = kept_pool(run)
            if pool is not None:
                return pool_setting(self.home, pool, run.settings.base_dir)[1]
            return Machine(run.settings.backend)

    def look_again(self, run: RunRecord) -> Callable[[], bool]:
        """Return what looks after tasks that this machine could not run when they were submitted."""
        if not run.settings.sites:
            return lambda: False
        from hutctl.local.replacing import Replacing

        folder = run.settings.base_dir
        return Replacing(
            self.store,
            run,
            lambda: find_configuration(self.config, folder),
            lambda: self.setting(folder)[0].sites,
        )


def _sites(configuration: Configuration) -> dict[str, Any]:
    """Return this machine as schedulers see it; nothing where none is configured."""
    if not configuration.schedulers:
        return {}
    from hut.model.configuration import plain
    from hut.scheduling.placing import offered, plain_sites
    from hutctl.local.machine_properties import machine_properties

    local = configuration.local_backend()
    site = {
        "name": local.name,
        "type": local.type,
        "scheduler": local.scheduler,
        "targets": offered(plain(local), {local.name: machine_properties()}),
    }
    return plain_sites([plain(entry) for entry in configuration.schedulers], [site])


def _elsewhere(kind: str) -> str:
    if kind == "workers":
        return "a pool; a run goes to it as a whole: --pool NAME"
    return "which needs a control plane on AWS"
