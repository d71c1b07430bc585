"""`python -m tests.e2e.workers PORT PATH FOLDER SECONDS`: workers on one user name that die at random moments.

20 processes lease messages, handle and acknowledge them, one by one or several at once. One of them is killed with
SIGKILL every few milliseconds, and another takes its place, until `KILLS` have died. Then they continue until nothing
is left. Each writes what it does to a file of its own before it does it, and then the result.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

WORKERS = 20
KILLS = 60
LEASE = 3
"""Seconds."""
PAUSE = 0.05


def main() -> None:
    """Run until everything is acknowledged. Print the number of killed workers."""
    port, path, folder, seconds = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
    rng = random.Random(5)
    ends = time.monotonic() + seconds
    numbers = iter(range(10**6))
    alive = [start(port, path, folder / f"{next(numbers)}") for _ in range(WORKERS)]
    killed = 0
    while time.monotonic() < ends and alive:
        if killed < KILLS:
            time.sleep(rng.uniform(0.001, 2 * PAUSE))
            victim = alive.pop(rng.randrange(len(alive)))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            killed += 1
            alive.append(start(port, path, folder / f"{next(numbers)}"))
        else:
            alive = [each for each in alive if os.waitpid(each, os.WNOHANG)[0] == 0]
            time.sleep(PAUSE)
    for each in alive:
        os.kill(each, signal.SIGKILL)
    print(killed, flush=True)
    sys.exit(bool(alive))


def start(port: int, path: str, diary: Path) -> int:
    """Fork a worker. Return its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work(port, path, os.open(diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    finally:
        os._exit(0)


def work(port: int, path: str, diary: int) -> None:
    """Work until no messages are left."""
    rng = random.Random(os.getpid())
    web = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def call(method: str, target: str, body: bytes = b"") -> tuple[http.client.HTTPResponse, bytes]:
        web.request(method, target, body)
        response = web.getresponse()
        return response, response.read()

    def note(kind: str, *fields: object) -> None:
        os.write(diary, (json.dumps([kind, *fields]) + "\n").encode())

    while True:
        many = rng.random() < 0.3
        asked = time.monotonic()
        response, body = call("GET", f"{path}?lease={LEASE}&wait=0.5" + ("&max=20" if many else ""))
        if response.status == 204:
            status, _ = call("HEAD", path)
            if status.headers["Msg-Leased"] == status.headers["Msg-Pending"] == "0":
                return
            continue
        assert response.status == 200, (response.status, body)
        if many:
            receipts = [json.loads(line)["receipt"] for line in body.splitlines()]
        else:
            receipts = [response.headers["Msg-Receipt"]]
        note("got", asked, time.monotonic(), receipts)
        note("done", receipts)
        if many:
            _, results = call("POST", f"{path}/acks", "\n".join(receipts).encode())
            confirmed = [each["receipt"] for each in map(json.loads, results.splitlines()) if each["done"]]
        else:
            confirmed = receipts if call("DELETE", f"{path}/{receipts[0]}")[0].status == 200 else []
        note("confirmed", confirmed)


if __name__ == "__main__":
    main()
