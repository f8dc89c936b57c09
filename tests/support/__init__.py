"""Helpers shared by the tests of all rooms: scripted servers and a TCP proxy with faults.

Scripted speech-to-text and chat-completions servers, on ephemeral loopback ports, in one line.
The fields of a scenario line are those of the structs in ``pipeline.simulator.scenario``; JSON
text, mappings and structs may be mixed. Without lines both servers work, and echo each request:

    from tests.support import simulate

    async with simulate([
        {"stt": "partial", "at_ms": 800, "text": "book the"},
        {"stt": "end", "at_ms": 1500, "text": "Book the late train."},
        {"llm": "reply", "match": "late train", "text": "Booking it.", "token_ms": 20},
    ]) as sim:
        sim.stt_url                       # ws://127.0.0.1:PORT/v3/ws
        sim.llm_url                       # http://127.0.0.1:PORT/v1

        one = await sim.stt.connected(1)  # SttConnection; n counts from 1 everywhere
        await sim.stt.audio_received(1, 500)  # until it received 500 ms of audio
        await sim.stt.control_received(1, "Terminate")  # until a control message of that type came
        await sim.stt.send(1, {...})      # send a message now, unscripted
        sim.stt.sever(1, by="rst")        # close it now, without a handshake
        await sim.stt.closed(1)
        one.query, one.headers, one.audio, one.audio_ms, one.frames, one.control, one.control_types
        one.sent, one.opened_at, one.closed_at, one.close_code

        two = await sim.llm.arrived(2)    # LlmRequest
        await sim.llm.token(2, 3)         # until 3 tokens of its reply are written
        await sim.llm.done(2)             # until 2 requests have their whole reply
        await sim.llm.closed(2)           # until the 2nd request's connection was closed
        await sim.llm.cancelled(2)        # until 2 requests were dropped by the client
        await sim.llm.idle()              # until no connection is open
        two.body, two.text, two.model, two.headers, two.path, two.status, two.tokens
        two.at, two.first_token_at, two.done_at, two.closed_at, two.was_cancelled
        sim.llm.requests, sim.llm.connections_open, sim.llm.connections_opened

All times are ``time.monotonic`` seconds. No wait here has a deadline: wrap it in
``anyio.fail_after``. Real sockets need the real clock, so such tests live in tests/loopback/.

    from tests.support import fault_proxy

    async with fault_proxy(sim.stt_url) as proxy:   # or (host, port)
        proxy.url                         # the same address, through the proxy
        proxy.latency = 0.2               # seconds, each way
        proxy.slice_bytes = 1             # deliver in pieces of so many bytes
        proxy.refuse = True               # new connections are reset at once
        proxy.blackhole()                 # half-open: nothing passes, nothing closes
        proxy.stop_reading()              # towards the client: its send buffers fill
        proxy.heal()                      # deliver what was held back
        proxy.cut(after=1000, by="fin")   # each connection, so many bytes from the server on
        await proxy.kill_all(by="rst")    # every connection, now
        proxy.connections                 # open ones; proxy.accepted counts all
"""

from pipeline.simulator.serve import Simulation, simulate
from tests.support.faultproxy import FaultProxy, fault_proxy

__all__ = ["FaultProxy", "Simulation", "fault_proxy", "simulate"]
