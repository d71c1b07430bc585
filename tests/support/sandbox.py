"""`python -m tests.support.sandbox FAMILIES CALLS COMMAND...`: run a command with the rights that a systemd unit gives.

FAMILIES and CALLS are comma-separated address families and system calls that are allowed; others fail with EPERM.
Memory is never writable and executable (`MemoryDenyWriteExecute=`). The file system is not restricted.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys

_ALLOW, _ERRNO_EPERM = 0x7FFF0000, 0x00050001
_EQUAL = 4
_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def enter(families: list[str], calls: list[str]) -> None:
    """Restrict this process. Raises `OSError` if that is impossible."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0):
        print("the kernel cannot deny executable memory (Linux 6.3 can)", file=sys.stderr)
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERRNO_EPERM)))

    def allow(call: str, *arguments: _Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # else another architecture's
            array = (_Comparison * len(arguments))(*arguments)
            code = library.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, len(arguments), array)
            if code:
                raise OSError(-code, f"seccomp_rule_add {call}")

    for call in calls:
        if call != "socket":
            allow(call)
    for family in families:
        allow("socket", _Comparison(0, _EQUAL, int(getattr(socket, family)), 0))
    code = library.seccomp_load(context)
    if code:
        raise OSError(-code, "seccomp_load")


if __name__ == "__main__":
    enter(sys.argv[1].split(","), sys.argv[2].split(","))
    os.execvp(sys.argv[3], sys.argv[3:])
