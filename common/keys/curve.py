"""Key pairs of CURVE (ZeroMQ RFC 26) and the files with their secret half.

Public keys stand in the cluster description. A secret key stands in a file of its own, one for each broker and one for
the fronts and tools of a host, and is never printed, logged or put on a command line.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

import zmq

from common.cluster.description import FRONT, is_ipv6, is_key
from common.cluster.slots import BrokerAddress, ClusterMap
from common.errors import StartError
from common.toml_file import parse_toml

SECRET = "secret_key"
"""What the key is called in its file; in the description a public key is just `key`."""
MOST_BYTES = 4096
"""Of a file with a secret key."""


class KeyPair(NamedTuple):
    """Both halves, in Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret."""
        return f"KeyPair({self.public!r})"


def new_pair() -> KeyPair:
    """A fresh one, from libzmq's source of chance."""
    return KeyPair(*zmq.curve_keypair())


def secret_path(folder: str | Path, name: str) -> Path:
    """The file with the secret key of a broker, or of `FRONT`."""
    return Path(folder) / f"{name}.key"


def read_pair(path: Path) -> KeyPair:
    """The pair whose secret key is in a file. Raises `StartError` for one that everybody may read, that others than
    its owner may write, or that has no secret key.

    A group may read it, and it may be a symbolic link: so Kubernetes hands secrets out.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            text = file.read(MOST_BYTES) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    if status.st_mode & 0o027:
        raise StartError(f"{path}: this secret key is open to other users (chmod 600)")
    try:
        secret = parse_toml(text.decode("ascii")).get(SECRET)
    except ValueError:
        secret = None
    if not isinstance(secret, str) or not is_key(secret):
        raise StartError(f"{path}: is not a file with a secret key as bin/keys curve makes it")
    return KeyPair(zmq.curve_public(secret.encode()), secret.encode())


def broker_pair(folder: str, address: BrokerAddress) -> KeyPair | None:
    """What a broker listens with, None where the description gives it no key. Raises `StartError`."""
    if not address.key:
        return None
    if not folder:
        raise StartError(f"broker {address.id!r} has a key: --curve-dir must name the folder with {address.id}.key")
    path = secret_path(folder, address.id)
    pair = read_pair(path)
    if pair.public.decode() != address.key:
        raise StartError(
            f"{path}: does not belong to the key of broker {address.id!r} in the cluster description; "
            f"its public key is {pair.public.decode()}"
        )
    return pair


def front_pair(folder: str) -> KeyPair | None:
    """What a front or a tool connects with, None without a folder. Raises `StartError`."""
    return read_pair(secret_path(folder, FRONT)) if folder else None


def check_front(pair: KeyPair | None, cluster: ClusterMap) -> None:
    """Raises `StartError` where brokers have keys and would not let the owner of this pair in."""
    broker = next((each.id for each in cluster.brokers if each.key), None)
    if broker is None:
        return
    if pair is None:
        raise StartError(f"broker {broker!r} has a key: --curve-dir must name a folder with {FRONT}.key")
    if pair.public.decode() not in cluster.fronts.values():
        raise StartError(f"the public key {pair.public.decode()} of {FRONT}.key is not in a [[fronts]] table")


def prepare(socket: zmq.Socket[bytes], address: BrokerAddress, pair: KeyPair | None) -> None:
    """Sets what a socket needs before it connects to a broker: CURVE where that has a key, to nobody but its owner."""
    socket.setsockopt(zmq.IPV6, int(is_ipv6(address.endpoint)))
    if address.key:
        assert pair is not None, "check_front has not been called"
        socket.setsockopt(zmq.CURVE_SERVERKEY, address.key.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
