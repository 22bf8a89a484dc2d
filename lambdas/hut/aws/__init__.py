"""Adapters of the small ports on AWS: executions, wake messages, uploads. Clients are passed in."""

from hut.aws.executions import StateMachine
from hut.aws.uploads import BucketUploads
from hut.aws.wakes import WakeQueue

__all__ = ["BucketUploads", "StateMachine", "WakeQueue"]
