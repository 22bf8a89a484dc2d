"""The EC2 backend: an instance for each attempt, through SSM and Step Functions."""

from hut.backends.ec2.backend import Ec2Backend, Nudge
from hut.backends.ec2.options import Ec2Options, Spot, read_options
from hut.backends.ec2.outcomes import is_told, job_from_execution, job_from_start, left_open
from hut.backends.ec2.submitting import LAUNCHES_PER_SECOND, Ec2Clients

__all__ = [
    "LAUNCHES_PER_SECOND",
    "Ec2Backend",
    "Ec2Clients",
    "Ec2Options",
    "Nudge",
    "Spot",
    "is_told",
    "job_from_execution",
    "job_from_start",
    "left_open",
    "read_options",
]
