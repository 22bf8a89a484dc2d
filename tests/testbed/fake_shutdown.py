"""Stands in for ``shutdown`` on an emulated instance: it tells the test bed, and ends nothing here."""

import json
import os
import socket
import sys
from urllib.parse import urlsplit


def minutes_of(words: list[str]) -> float | None:
    """Return when to shut down; None: no longer."""
    if "-c" in words:
        return None
    moments = [word for word in words if not word.startswith("-")]
    moment = moments[0] if moments else "+1"
    return 0.0 if moment == "now" else float(moment.removeprefix("+"))


def main() -> None:
    body = {
        "instance": os.environ["HUT_TESTBED_INSTANCE"],
        "minutes": minutes_of(sys.argv[1:]),
    }
    data = json.dumps(body).encode()
    url = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    head = (
        "POST /_hut/ec2/shutdown HTTP/1.1\r\n"
        f"Host: {url.netloc}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((url.hostname or "", url.port or 80), 10) as connection:
        connection.sendall(head.encode() + data)
        answer = connection.makefile("rb").readline()
    sys.exit(b" 200 " not in answer)


if __name__ == "__main__":
    main()
