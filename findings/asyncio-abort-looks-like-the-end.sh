#!/usr/bin/env bash
# After transport.abort() of asyncio the peer reads a normal end of the stream, as after close(): no reset.
#
# One would guess: abort() resets the connection, so a peer that got half a response sees an error. A proxy that
#   loses its server calls it to pass the break on.
# What it does: it drops what asyncio holds and closes the socket. The kernel still sends what it has and a FIN, so
#   half a response looks whole. Only if bytes of the peer were left unread in the kernel does it send a reset.
# So: before abort() set SO_LINGER to (1, 0) on transport.get_extra_info("socket").
# Seen with: Python 3.11.2 (Debian 12), November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
cat > ends.py <<'PYTHON'
import asyncio
import socket
import struct

async def ask(end):
    async def serve(reader, writer):
        await reader.readexactly(3)
        writer.write(b"half")
        await writer.drain()
        end(writer.transport)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"ask")
        try:
            text = (await reader.read()).decode()
            return f"the peer read {text!r} and the end"
        except ConnectionResetError:
            return "the peer was told of a reset"
        finally:
            writer.close()

def reset(transport):
    now = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
    transport.abort()

for name, end in (
    ("close", lambda transport: transport.close()),
    ("abort", lambda transport: transport.abort()),
    ("SO_LINGER, then abort", reset),
):
    print(f"{name}: {asyncio.run(ask(end))}")
PYTHON
/usr/bin/python3 ends.py
SCRIPT
expect <<'TEXT'
close: the peer read 'half' and the end
abort: the peer read 'half' and the end
SO_LINGER, then abort: the peer was told of a reset
TEXT
