"""Orders that wait for a zygote to be ready."""

import asyncio
import json
import socket

from router.processes import Exit, Zygote


async def test_an_order_whose_socket_is_closed_meanwhile_is_not_sent_and_its_child_has_left() -> (
    None
):
    """Whoever waits for the exit of such a child is told; orders behind it are sent."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    zygote = Zygote(asyncio.get_running_loop(), lock_fd=0, spares=0)
    zygote._control = ours
    exits: list[tuple[str, Exit]] = []
    pairs = [socket.socketpair() for _ in range(2)]
    for name, (_, child_end) in zip(("withdrawn", "wanted"), pairs, strict=True):

        def left(how: Exit, name: str = name) -> None:
            exits.append((name, how))

        zygote.spawn("worker", {"index": name}, child_end, left)
    pairs[0][1].close()
    zygote._handle({"ready": 1}, [])
    assert exits == [("withdrawn", Exit(status=None, cpu_seconds=0.0))]
    theirs.setblocking(False)
    packet, descriptors, _, _ = socket.recv_fds(theirs, 1 << 16, 2)
    assert json.loads(packet)["index"] == "wanted" and len(descriptors) == 1
    for descriptor in descriptors:
        socket.socket(fileno=descriptor).close()
    for one in (ours, theirs, *(end for pair in pairs for end in pair)):
        one.close()
