"""WebSocket with real parts: the `websockets` library for HTTP/1.1 on either end, `h2` for streams of HTTP/2.

    websocket.py server            echoes messages until its standard input ends; prints its port
    websocket.py http1 URL         runs every case by HTTP/1.1
    websocket.py http2 HOST:PORT [CA]  the same by extended CONNECT, over TLS where an authority is given
    websocket.py wait-close URL    prints the close code that the server sends

Prints `ok` as the last line, or fails.
"""

import asyncio
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
import websockets
from websockets.frames import Frame, Opcode

SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1_000_000]


async def echo(websocket):
    async for message in websocket:
        if message == "close":
            return await websocket.close(4321, "as asked")
        await websocket.send(message)


async def server():
    async with websockets.serve(echo, "127.0.0.1", 0, subprotocols=["chat"], max_size=None) as serving:
        print(serving.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def http1(url):
    context = None
    if url.startswith("wss:"):
        url, authority = url.split("#")
        context = ssl.create_default_context(cafile=authority)
    async with websockets.connect(url, subprotocols=["other", "chat"], max_size=None, ssl=context) as websocket:
        assert websocket.subprotocol == "chat"
        assert [e.name for e in websocket.extensions] == ["permessage-deflate"], websocket.extensions
        for size in SIZES:
            for message in ("x" * size, bytes(i % 251 for i in range(size))):
                await websocket.send(message)
                assert await websocket.recv() == message, size
        await websocket.send(["frag", "men", "ted"])
        assert await websocket.recv() == "fragmented"
        await asyncio.wait_for(await websocket.ping(b"still there"), 5)
        await websocket.send("close")
        try:
            await websocket.recv()
            raise AssertionError("it should be closed")
        except websockets.ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4321, "as asked"), closed
    # Many messages on their way before the first comes back.
    async with websockets.connect(url, compression=None, ssl=context) as websocket:
        await asyncio.gather(*(websocket.send(str(n)) for n in range(1000)))
        assert [await websocket.recv() for _ in range(1000)] == [str(n) for n in range(1000)]


async def wait_close(url):
    async with websockets.connect(url) as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "hello"
        print("open", flush=True)
        try:
            await websocket.recv()
        except websockets.ConnectionClosed as closed:
            print(closed.rcvd.code, flush=True)


class Http2:
    """A connection of HTTP/2, one stream after the other."""

    def __init__(self, address, authority):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.scheme = "http"
        if authority:
            context = ssl.create_default_context(cafile=authority)
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="live.test")
            self.scheme = "https"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events = []
        self.flush()
        # Nobody may ask before it was announced (RFC 8441, section 3).
        while self.h2.remote_settings.enable_connect_protocol != 1:
            self.receive()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def receive(self):
        data = self.socket.recv(65536)
        assert data, "the connection ended"
        self.events += self.h2.receive_data(data)
        self.flush()

    def connect(self, path, protocol="websocket", more=()):
        stream = self.h2.get_next_available_stream_id()
        fields = [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", self.scheme),
            (":path", path),
            (":authority", "live.test"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
        ]
        self.h2.send_headers(stream, fields + list(more))
        self.flush()
        return Tunnel(self, stream)


class Tunnel:
    def __init__(self, connection, stream):
        self.connection, self.stream = connection, stream
        self.received, self.ended, self.fields = b"", False, None
        while self.fields is None:
            self.look()

    @property
    def status(self):
        return self.fields[":status"]

    def look(self):
        while not self.connection.events:
            self.connection.receive()
        event = self.connection.events.pop(0)
        if getattr(event, "stream_id", None) != self.stream:
            return
        if isinstance(event, h2.events.ResponseReceived):
            self.fields = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.received += event.data
            self.connection.h2.acknowledge_received_data(event.flow_controlled_length, self.stream)
            self.connection.flush()
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            self.ended = True

    def send(self, octets, end=False):
        while octets:
            window = min(self.connection.h2.local_flow_control_window(self.stream), 16384)
            if window == 0:
                self.look()
                continue
            self.connection.h2.send_data(self.stream, octets[:window])
            octets = octets[window:]
            self.connection.flush()
        if end:
            self.connection.h2.end_stream(self.stream)
            self.connection.flush()

    def exactly(self, count):
        while len(self.received) < count:
            assert not self.ended, "the stream ended"
            self.look()
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def frame(self):
        first, length = self.exactly(2)
        if length > 125:
            length = int.from_bytes(self.exactly(2 if length == 126 else 8), "big")
        return first, self.exactly(length)


def http2(address, authority=None):
    connection = Http2(address, authority)
    tunnel = connection.connect("/ws")
    assert tunnel.status == "200" and tunnel.fields["sec-websocket-protocol"] == "chat", tunnel.fields
    assert "sec-websocket-accept" not in tunnel.fields and "upgrade" not in tunnel.fields
    for size in SIZES:
        message = bytes(i % 251 for i in range(size))
        tunnel.send(Frame(Opcode.BINARY, message).serialize(mask=True))
        assert tunnel.frame() == (0x82, message), size
    tunnel.send(Frame(Opcode.TEXT, b"frag", fin=False).serialize(mask=True))
    tunnel.send(Frame(Opcode.PING, b"between").serialize(mask=True))
    tunnel.send(Frame(Opcode.CONT, b"mented").serialize(mask=True))
    assert tunnel.frame() == (0x8A, b"between")
    assert tunnel.frame() == (0x81, b"fragmented")
    # Another stream beside it, and one that nobody speaks.
    second = connection.connect("/ws")
    second.send(Frame(Opcode.TEXT, b"second").serialize(mask=True))
    assert second.frame() == (0x81, b"second")
    assert connection.connect("/ws", "connect-udp").status == "501"
    assert connection.connect("/plain").status == "501"
    tunnel.send(Frame(Opcode.TEXT, b"close").serialize(mask=True))
    assert tunnel.frame() == (0x88, (4321).to_bytes(2, "big") + b"as asked")
    tunnel.send(Frame(Opcode.CLOSE, (4321).to_bytes(2, "big")).serialize(mask=True), end=True)
    while not tunnel.ended:
        tunnel.look()
    second.send(Frame(Opcode.TEXT, b"still").serialize(mask=True))
    assert second.frame() == (0x81, b"still")
    second.send(Frame(Opcode.CLOSE, (1000).to_bytes(2, "big")).serialize(mask=True), end=True)
    assert second.frame() == (0x88, (1000).to_bytes(2, "big"))


def main(what, *arguments):
    if what == "http2":
        http2(*arguments)
    else:
        asyncio.run({"server": server, "http1": http1, "wait-close": wait_close}[what](*arguments))
    print("ok")


main(*sys.argv[1:])
