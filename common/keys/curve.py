"""Key pairs of CURVE (ZeroMQ RFC 26) and the files with their secret half.

Public keys are in the cluster description. Each secret key is in a file of its own, one per broker and one for the
fronts and tools of a host. It is never printed, logged or passed on a command line.
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
"""Name of the key in its file. In the description a public key is called `key`."""
MOST_BYTES = 4096
"""Maximum size of a file with a secret key."""


class KeyPair(NamedTuple):
    """A public and a secret key, in Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Omit the secret."""
        return f"KeyPair({self.public!r})"


def new_pair() -> KeyPair:
    """Return a new pair, from the random source of libzmq."""
    return KeyPair(*zmq.curve_keypair())


def secret_path(folder: str | Path, name: str) -> Path:
    """Return the path of the secret key of a broker, or of `FRONT`."""
    return Path(folder) / f"{name}.key"


def read_pair(path: Path) -> KeyPair:
    """Return the pair whose secret key is in a file.

    Raises `StartError` for a file that others may read, that the group may write, or that has no secret key. The group
    may read it, and it may be a symbolic link, as with secrets of Kubernetes.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            text = file.read(MOST_BYTES) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    if status.st_mode & 0o027:
        raise StartError(f"{path}: is accessible to other users (chmod 600)")
    try:
        secret = parse_toml(text.decode("ascii")).get(SECRET)
    except ValueError:
        secret = None
    if not isinstance(secret, str) or not is_key(secret):
        raise StartError(f"{path}: is not a file with a secret key as bin/keys curve makes it")
    return KeyPair(zmq.curve_public(secret.encode()), secret.encode())


def broker_pair(folder: str, address: BrokerAddress) -> KeyPair | None:
    """Return the pair of a broker, None if the description has no key for it. Raises `StartError`."""
    if not address.key:
        return None
    if not folder:
        raise StartError(f"broker {address.name!r} has a key: --curve-dir must name the folder with {address.name}.key")
    path = secret_path(folder, address.name)
    pair = read_pair(path)
    if pair.public.decode() != address.key:
        raise StartError(
            f"{path}: does not belong to the key of broker {address.name!r} in the cluster description; "
            f"its public key is {pair.public.decode()}"
        )
    return pair


def front_pair(folder: str) -> KeyPair | None:
    """Return the pair of fronts and tools, None without a folder. Raises `StartError`."""
    return read_pair(secret_path(folder, FRONT)) if folder else None


def check_front(pair: KeyPair | None, cluster: ClusterMap) -> None:
    """Raise `StartError` if brokers have keys and would refuse the owner of this pair."""
    broker = next((each.name for each in cluster.addresses if each.key), None)
    if broker is None:
        return
    if pair is None:
        raise StartError(f"broker {broker!r} has a key: --curve-dir must name a folder with {FRONT}.key")
    if pair.public.decode() not in cluster.fronts.values():
        raise StartError(f"the public key {pair.public.decode()} of {FRONT}.key is not in a [[fronts]] table")


def prepare(socket: zmq.Socket[bytes], address: BrokerAddress, pair: KeyPair | None) -> None:
    """Set the options of a socket that connects to a broker: CURVE if it has a key, and only to its owner."""
    socket.setsockopt(zmq.IPV6, int(is_ipv6(address.endpoint)))
    if address.key:
        assert pair is not None, "check_front has not been called"
        socket.setsockopt(zmq.CURVE_SERVERKEY, address.key.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
