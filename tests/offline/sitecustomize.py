"""Blocks the network in every Python process that finds this file on PYTHONPATH: this machine can still be reached.

So all tests run without a network, and so do the processes that they start; programs in other languages that ask for a
proxy are sent to one that does not answer.
"""

import os
import socket

_LOCAL = ("127.0.0.1", "::1", "localhost", "", None)
_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _check(address: object) -> None:
    host = address[0] if isinstance(address, tuple) else None  # a path is a socket of this machine
    if (host.decode() if isinstance(host, bytes) else host) not in _LOCAL:
        raise OSError(f"the network is blocked: {host} was asked for")


def _guarded(function):
    def guarded(self, address):
        _check(address)
        return function(self, address)

    return guarded


def _looked_up(host, *arguments, **options):
    _check((host,))
    return _getaddrinfo(host, *arguments, **options)


socket.socket.connect, socket.socket.connect_ex = _guarded(_connect), _guarded(_connect_ex)
socket.getaddrinfo = _looked_up
os.environ |= dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
os.environ |= {"no_proxy": "localhost,127.0.0.1", "HF_HUB_OFFLINE": "1"}
