"""The machines that train together, as TensorFlow's environment variable ``TF_CONFIG`` names them."""

import json
import os
import re
import socket
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from stages.pipeline.errors import UserError

ASK, YES, GO = b"?", b"!", b"+"  # what machines say before TensorFlow speaks for them


@dataclass(frozen=True)
class Machines:
    """The machines that train together, as HOST:PORT, and this one's place among them, from 0 on."""

    names: tuple[str, ...]
    index: int


def machines() -> Machines:
    """The machines that ``TF_CONFIG`` names; this one alone if it is not set.

    Raises
    ------
    UserError
        If it does not name workers, and this machine as one of them.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return Machines(("localhost:0",), 0)
    try:
        config = json.loads(text)
        (names,), task = config["cluster"].values(), config["task"]
        found = Machines(tuple(names), range(len(names)).index(task["index"]))
        named = all(re.fullmatch(r"[^:]+:\d{1,5}", name) for name in names)
        if not named or [*config["cluster"], task["type"]] != ["worker", "worker"]:
            raise ValueError
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise UserError(
            f"environment variable TF_CONFIG is {text!r}, allowed is "
            '{"cluster": {"worker": ["HOST:PORT", …]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    return found


def meet(group: Machines) -> None:
    """Wait until all machines are there: TensorFlow waits, too, but hears no Ctrl-C meanwhile.

    The others come to the port of the first one. It asks them whether they are still there, and then has them go on.

    Raises
    ------
    UserError
        If another program uses this port.
    """
    host, port = group.names[0].split(":")
    print(f"waiting for the machines of TF_CONFIG: {', '.join(group.names)}", file=sys.stderr)
    if group.index:
        while not _called(host, int(port)):
            time.sleep(1)
        return
    with ExitStack() as opened:
        try:
            server = opened.enter_context(socket.create_server(("", int(port))))
        except (OSError, OverflowError) as error:
            raise UserError(f"port {port} of {group.names[0]} in TF_CONFIG cannot be used: {error}") from None
        there: list[socket.socket] = []
        while len(there) < len(group.names) - 1:
            there.append(opened.enter_context(server.accept()[0]))
            if len(there) == len(group.names) - 1:
                there = [each for each in there if _answers(each)]
        for each in there:
            each.sendall(GO)


def _answers(other: socket.socket) -> bool:
    other.settimeout(5)
    with suppress(OSError):
        other.sendall(ASK)
        return other.recv(1) == YES
    return False


def _called(host: str, port: int) -> bool:
    """Whether the first machine asked, and then had this one go on."""
    with suppress(OSError), socket.create_connection((host, port), 5) as first:
        first.settimeout(None)
        while (said := first.recv(1)) == ASK:
            first.sendall(YES)
        return said == GO
    return False
