"""The program that runs a task on its instance. The rest of Hut does not import it.

It travels inside of the SSM document (`hut.backends.ec2.document`) and runs with whatever Python the
image has: 3.7 or newer, the standard library, nothing else of Hut. So its modules import only each
other, and use no syntax or function that is younger; tests hold them to it.

    agent.py       the story of a command, from its parameters to its report
    attempts.py    one command runs an attempt, others wait for its result
    payload.py     what is to be run, read from S3 and checked
    containers.py  docker: install, start, log in, pull, run
    processes.py   the task's process: start, time limit, signals, end
    shipping.py    its output, from a file to CloudWatch Logs
    calls.py       signed calls, credentials, retries; signing.py: signatures
    timer.py       the instance's own end, whatever becomes of everything else
"""
