"""Tasks as child processes of this machine, each in a process group of its own."""

from hut.backends.local.backend import Finished, Launch, LocalBackend, LocalOptions

__all__ = ["Finished", "Launch", "LocalBackend", "LocalOptions"]
