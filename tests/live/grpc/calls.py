"""A server and a client of gRPC, other people's, without generated code.

  calls.py serve              serves on a port of the kernel's choice, and prints it
  calls.py call ADDRESS CA    calls through the gateway at ADDRESS, whose certificate is CA; prints a line for each thing that held
"""

import base64
import concurrent.futures
import http.client
import os
import queue
import ssl
import sys
import threading
import time

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

SERVICE = "test.Echo"
# A name of the certificate.
NAME = "a.test"
cancelled = threading.Event()


def text(octets):
    return octets


def unary(request, context):
    context.send_initial_metadata((("x-initial", "first"), ("x-initial-bin", b"\x00\xff")))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-trailing-bin", b"\x01\xfe")))
    return b"echo " + request


def told(_, context):
    """What the call said of itself."""
    metadata = {key: value for key, value in context.invocation_metadata()}
    remaining = context.time_remaining()
    # Without a deadline the end of time is far away.
    told = [f"{remaining:.3f}" if remaining is not None and remaining < 1e6 else "none", str(len(metadata.get("x-large", "")))]
    return " ".join(told).encode()


def fails(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not ready: caf\u00e9 100%")


def fails_late(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "lost")


def server_stream(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def slow_stream(request, context):
    for number in range(3):
        yield str(number).encode()
        time.sleep(0.5)


def client_stream(requests, context):
    return b",".join(requests)


def bidirectional(requests, context):
    for request in requests:
        yield b"echo " + request


def waits(request, context):
    """Waits until it is cancelled."""
    cancelled.clear()
    done = threading.Event()
    context.add_callback(done.set)
    done.wait(20)
    cancelled.set()
    return b"late"


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(5) else b"no"


def flood(request, context):
    """More than any window holds; says how far it came when it is cancelled."""
    for _ in range(int(request)):
        yield bytes(64 * 1024)


def serve():
    calls = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, text, text),
        "Told": grpc.unary_unary_rpc_method_handler(told, text, text),
        "Fails": grpc.unary_unary_rpc_method_handler(fails, text, text),
        "FailsLate": grpc.unary_stream_rpc_method_handler(fails_late, text, text),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream, text, text),
        "SlowStream": grpc.unary_stream_rpc_method_handler(slow_stream, text, text),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream, text, text),
        "Bidirectional": grpc.stream_stream_rpc_method_handler(bidirectional, text, text),
        "Waits": grpc.unary_unary_rpc_method_handler(waits, text, text),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled, text, text),
        "Flood": grpc.unary_stream_rpc_method_handler(flood, text, text),
    }
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(max_workers=32),
        options=[("grpc.max_metadata_size", 64 * 1024), ("grpc.max_receive_message_length", 16 * 1024 * 1024)],
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, calls),))
    servicer = health.HealthServicer()
    servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # As long as somebody holds the other end.
    sys.stdin.read()
    server.stop(0)


class Caller:
    def __init__(self, address, ca):
        self.address, self.ca = address, ca
        with open(ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        options = [
            ("grpc.ssl_target_name_override", NAME),
            ("grpc.max_metadata_size", 64 * 1024),
            ("grpc.max_receive_message_length", 16 * 1024 * 1024),
            ("grpc.enable_retries", 0),
        ]
        self.channel = grpc.secure_channel(address, credentials, options=options)

    def unary(self, method, request, service=SERVICE, **more):
        call = self.channel.unary_unary(f"/{service}/{method}", text, text)
        return call.with_call(request, **{"timeout": 10, **more})

    def stream(self, method, request, **more):
        return self.channel.unary_stream(f"/{SERVICE}/{method}", text, text)(request, **{"timeout": 10, **more})

    def status(self, method, request=b"", service=SERVICE, **more):
        try:
            self.unary(method, request, service, **more)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""

    # Each of these is one thing that holds.

    def unary_calls_carry_metadata_both_ways(self):
        reply, call = self.unary("Unary", b"hi")
        assert reply == b"echo hi"
        initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
        assert initial["x-initial"] == "first" and initial["x-initial-bin"] == b"\x00\xff", initial
        assert trailing["x-trailing"] == "last" and trailing["x-trailing-bin"] == b"\x01\xfe", trailing

    def streams_of_the_server_come_whole(self):
        assert list(self.stream("ServerStream", b"1000")) == [str(number).encode() for number in range(1000)]

    def streams_of_the_server_are_not_held_back(self):
        begun, arrived = time.monotonic(), []
        for _ in self.stream("SlowStream", b""):
            arrived.append(time.monotonic() - begun)
        assert arrived[0] < 0.45 and 0.4 < arrived[1] < 0.95, arrived

    def streams_of_the_client_come_whole(self):
        call = self.channel.stream_unary(f"/{SERVICE}/ClientStream", text, text)
        parts = [str(number).encode() for number in range(1000)]
        assert call(iter(parts), timeout=10) == b",".join(parts)

    def both_speak_at_once(self):
        asked = queue.Queue()
        call = self.channel.stream_stream(f"/{SERVICE}/Bidirectional", text, text)
        replies = call(iter(asked.get, None), timeout=20)
        for number in range(100):
            asked.put(str(number).encode())
            assert next(replies) == f"echo {number}".encode(), "an answer before the next question"
        asked.put(None)
        assert next(replies, None) is None

    def large_messages_and_metadata_pass(self):
        message = os.urandom(5 * 1024 * 1024)
        assert self.unary("Unary", message, timeout=30)[0] == b"echo " + message
        reply, _ = self.unary("Told", b"", metadata=(("x-large", "x" * 12_000),))
        assert reply.split()[1] == b"12000", reply

    def compression_passes(self):
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            assert self.unary("Unary", b"a" * 100_000, compression=compression)[0] == b"echo " + b"a" * 100_000

    def statuses_and_their_messages_pass(self):
        assert self.status("Fails") == (grpc.StatusCode.FAILED_PRECONDITION, "not ready: caf\u00e9 100%")
        replies = self.stream("FailsLate", b"")
        assert next(replies) == b"one"
        try:
            next(replies)
            raise AssertionError("no failure")
        except grpc.RpcError as error:
            assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "lost"), error

    def refusals_are_statuses(self):
        assert self.status("Unary", service="test.Other") == (grpc.StatusCode.UNIMPLEMENTED, "No route matches")
        code, _ = self.status("Unary", service="test.Nowhere")
        assert code == grpc.StatusCode.UNAVAILABLE, code
        assert self.status("Missing")[0] == grpc.StatusCode.UNIMPLEMENTED

    def deadlines_go_on_and_are_kept(self):
        left = float(self.unary("Told", b"", timeout=5)[0].split()[0])
        # Either side's library rounds up by a little.
        assert 4 < left < 5.1, left
        assert self.unary("Told", b"", timeout=None)[0].split()[0] == b"none"
        # The route's own time is shorter than the caller's.
        begun = time.monotonic()
        assert self.status("Waits", service="test.Quick", timeout=20)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 5
        assert self.status("Waits", timeout=0.5)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        assert self.unary("WasCancelled", b"")[0] == b"yes", "the server was told"

    def cancellations_reach_the_server(self):
        call = self.channel.unary_unary(f"/{SERVICE}/Waits", text, text).future(b"", timeout=20)
        time.sleep(0.5)
        call.cancel()
        assert self.unary("WasCancelled", b"")[0] == b"yes"

    def a_stream_that_nobody_reads_can_be_cancelled(self):
        replies = self.stream("Flood", b"10000", timeout=30)
        for _ in range(3):
            assert len(next(replies)) == 64 * 1024
        replies.cancel()
        assert self.unary("Unary", b"hi")[0] == b"echo hi"

    def many_calls_share_connections(self):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            replies = pool.map(lambda number: self.unary("Unary", str(number).encode())[0], range(500))
            assert list(replies) == [f"echo {number}".encode() for number in range(500)]

    def health_and_reflection_are_calls_like_others(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        reply = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=10)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        reply = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=10)))
        assert SERVICE in [service.name for service in reply.list_services_response.service]

    def browsers_are_bridged(self):
        def message(content):
            return b"\0" + len(content).to_bytes(4, "big") + content

        def ask(kind, method, content):
            host, port = self.address.rsplit(":", 1)
            context = ssl.create_default_context(cafile=self.ca)
            context.check_hostname = False
            connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
            content = message(content) if kind == "grpc-web" else base64.b64encode(message(content))
            fields = {"content-type": f"application/{kind}", "host": NAME, "x-grpc-web": "1"}
            connection.request("POST", f"/{SERVICE}/{method}", content, fields)
            answer = connection.getresponse()
            assert answer.status == 200 and answer.headers["content-type"].startswith(f"application/{kind}"), answer.headers
            content = answer.read()
            if kind == "grpc-web":
                return answer, content
            # Every piece is padded by itself.
            return answer, b"".join(base64.b64decode(content[at:at + 4]) for at in range(0, len(content), 4))

        for kind in ("grpc-web", "grpc-web-text"):
            _, content = ask(kind, "Unary", b"hi")
            assert content.startswith(message(b"echo hi") + b"\x80"), content
            assert b"grpc-status: 0\r\n" in content and b"x-trailing: last\r\n" in content, content
            _, content = ask(kind, "ServerStream", b"3")
            assert content.startswith(message(b"0") + message(b"1") + message(b"2") + b"\x80"), content
            answer, content = ask(kind, "Fails", b"")
            assert answer.headers.get("grpc-status") == "9" or b"grpc-status: 9\r\n" in content, (content, answer.headers)


def call(address, ca):
    caller = Caller(address, ca)
    things = [name for name in vars(Caller) if "_" in name and not name.startswith("_")]
    for name in things:
        begun = time.monotonic()
        getattr(caller, name)()
        print(f"{name} {time.monotonic() - begun:.2f} s", flush=True)
    print(f"{len(things)} things held", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif len(sys.argv) == 4 and sys.argv[1] == "call":
        call(*sys.argv[2:])
    else:
        sys.exit(__doc__)
