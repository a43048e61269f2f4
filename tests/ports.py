"""Ports of this machine for processes that talk to each other."""

import socket


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
