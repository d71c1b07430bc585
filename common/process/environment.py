"""Environment variables for the communication between a process and its supervisor."""

from __future__ import annotations

READY_FD = "FANMAIL_READY_FD"
"""The descriptor on which a supervised process announces that it is ready."""
SUPERVISOR = "FANMAIL_SUPERVISOR"
"""The process id of the supervisor that started this process."""
NOTIFY_SOCKET = "NOTIFY_SOCKET"
"""The socket on which systemd, or a compatible service manager, receives the state of a service (sd_notify(3))."""
