"""Connections that go wrong: half-closed, slow, never read, dropped by the thousand, with the wrong TLS or none."""

import contextlib
import functools
import random
import re
import resource
import socket
import ssl
import threading
import time
import urllib.request
import warnings

import pytest

import mail
from conftest import Server
from hostile import (ANSWER_SECONDS_MAX, COMMAND_SECONDS, CONFIG, DOORS, GREETING, LISTENERS, START_TLS, GoodClient,
                     Wire, deliver, descriptors, dial, healthy, log_in, maildrop, memory, protocol_of, serves)

# What the connections of a test may leave behind, or hold while they are open.
MEMORY_GROWTH_MAX = 64 * 1024 * 1024
# Descriptors that may be open for other reasons (the good client, files of the store).
DESCRIPTORS_SLACK = 60
# Over the limit of the server, for a machine that is busy.
SLACK_SECONDS = 6


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("hostile"), accounts=30, config=CONFIG).start()
    yield server
    server.stop()


@pytest.fixture(scope="module", autouse=True)
def good(node):
    with GoodClient(node, node.accounts[0]) as client:
        yield client
    client.check()
    assert client.turns > 0


@pytest.fixture(autouse=True)
def unharmed(node, good):
    yield
    healthy(node)
    good.check()


@pytest.fixture(params=DOORS)
def door(request, node):
    if not serves(node, DOORS[request.param][0]):
        pytest.skip("this program does not listen there")
    return request.param


@pytest.fixture(params=LISTENERS)
def listener(request, node):
    if not serves(node, request.param):
        pytest.skip("this program does not listen there")
    return request.param


@pytest.fixture
def account(node):
    """An account that no other test uses."""
    node.given = getattr(node, "given", 0) + 1
    return node.accounts[node.given]


@contextlib.contextmanager
def raw(node, listener, timeout=ANSWER_SECONDS_MAX):
    with Wire(node.address(listener), timeout) as wire:
        yield wire


def protocol_behind(listener):
    return next(protocol for name, protocol, _ in DOORS.values() if name == listener)


def is_implicit(listener):
    return listener.endswith("s") and listener != "lmtps"


def settles(measure, limit, what):
    """Waits until a measure has fallen below a limit."""
    mail.wait_for(lambda: measure() < limit, what)


# --- half-closed ---

def test_a_half_closed_client_gets_its_answers(node, account, door):
    protocol = protocol_of(door)
    name, password = account["username"], account["password"]
    text = b"Subject: half\r\n\r\nclosed\r\n"
    with dial(node, door, greet=False) as wire:
        if protocol in ("smtp", "lmtp"):
            hello = b"LHLO" if protocol == "lmtp" else b"EHLO"
            submission = door.startswith("submission")
            said = hello + b" a.test\r\n"
            if submission:
                said += b"AUTH LOGIN\r\nbm9ib2R5\r\nd3Jvbmc=\r\n"
            said += f"MAIL FROM:<{account['address']}>\r\nRCPT TO:<{account['address']}>\r\n".encode()
            said += b"BDAT %d LAST\r\n" % len(text) + text + b"QUIT\r\n"
            codes = [b"250"] * 4 + [b"221"]
            if submission and door == "submission":
                codes = [b"250", b"538", b"500", b"500", b"530", b"530", b"530", b"221"]
            elif submission:
                codes = [b"250", b"334", b"334", b"535", b"530", b"530", b"530", b"221"]
        elif protocol == "pop3":
            said, codes = f"USER {name}\r\nPASS {password}\r\nSTAT\r\nQUIT\r\n".encode(), [b"+OK"] * 4
            if door == "pop3":
                codes = [b"-ERR"] * 3 + [b"+OK"]
        else:
            said = f"a LOGIN {name} {password}\r\nb SELECT INBOX\r\nc NOOP\r\nd LOGOUT\r\n".encode()
            codes = [b"a OK", b"b OK", b"c OK", b"d OK"]
            if door == "imap":
                codes = [b"a NO", b"b", b"c OK", b"d OK"]
        wire.send(said)
        wire.end_sending()
        lines = [line for line in wire.rest().splitlines() if not re.match(rb"\d{3}-|\* ", line)]
    assert len(lines) == len(codes), lines
    assert all(line.startswith(code) for line, code in zip(lines, codes)), lines
    if protocol in ("smtp", "lmtp") and not door.startswith("submission"):
        assert maildrop(node, account) == [text]


def test_a_half_closed_client_within_a_message_leaves_nothing(node, account):
    for door in ("smtp", "smtp+tls", "lmtp"):
        with dial(node, door) as wire:
            wire.send(f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{account['address']}>\r\nDATA\r\n".encode())
            assert [wire.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
            wire.send(b"Subject: not whole\r\n\r\nand no end\r\n")
            wire.end_sending()
            assert not wire.rest().startswith(b"2")
    assert maildrop(node, account) == []


def test_a_half_closed_reader_gets_the_whole_message(node, account):
    text = b"Subject: long\r\n\r\n" + b"0123456789abcde\r\n" * 100_000
    assert deliver(node, account, text).startswith(b"250")
    for door in ("pop3+tls", "pop3s"):
        with log_in(dial(node, door), "pop3", account) as wire:
            wire.send(b"RETR 1\r\n")
            wire.end_sending()
            assert wire.rest().endswith(text[-100:] + b".\r\n")
    for door in ("imap+tls", "imaps"):
        if not serves(node, "imaps"):
            continue
        with log_in(dial(node, door), "imap", account) as wire:
            wire.send(b"a SELECT INBOX\r\nb FETCH 1 BODY.PEEK[]\r\n")
            wire.end_sending()
            got = wire.rest()
            assert b"b OK" in got and text[-100:] in got


# --- slow ---

def trickle(wire, data, until):
    """A byte now and then; seconds until the other side had enough."""
    began = time.monotonic()
    for byte in data:
        if time.monotonic() - began > until or not wire.send(bytes([byte])):
            break
        wire.socket.settimeout(0.2)
        try:
            wire._fill()
        except TimeoutError:
            pass
        if wire.ended or b"421" in wire.plain or b"BYE" in wire.plain:
            break
    wire.socket.settimeout(ANSWER_SECONDS_MAX)
    return time.monotonic() - began


def test_slow_clients_are_sent_away(node):
    """A byte now and then does not prolong the time for a command, on any port, TLS or not."""
    results = {}

    def one(door):
        with dial(node, door, greet=False) as wire:
            took = trickle(wire, b"NOOPNOOPNOOP" * 20, COMMAND_SECONDS + SLACK_SECONDS)
            results[door] = (took, wire.rest())

    doors = [door for door in DOORS if serves(node, DOORS[door][0])]
    threads = [threading.Thread(target=one, args=(door,)) for door in doors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results.keys() == set(doors)
    for door, (took, last) in results.items():
        assert COMMAND_SECONDS - 1 < took < COMMAND_SECONDS + SLACK_SECONDS, (door, took)
        expected = {"smtp": b"421 4.4.2", "lmtp": b"421 4.4.2", "imap": b"* BYE", "pop3": b""}[protocol_of(door)]
        assert last.startswith(expected), (door, last)


def test_slow_and_silent_handshakes_are_dropped(node):
    """Nothing is said, or half a ClientHello: the time for a handshake ends it."""
    hello = client_hello()
    wires = []
    for listener in LISTENERS:
        if not serves(node, listener):
            continue
        for start in (b"", hello[:1], hello[:100], hello[:-1]):
            wire = Wire(node.address(listener))
            if not is_implicit(listener):
                protocol = protocol_behind(listener)
                assert wire.line().startswith(GREETING[protocol])
                if protocol in ("smtp", "lmtp"):
                    assert wire.ask(b"LHLO a\r\n" if protocol == "lmtp" else b"EHLO a\r\n").startswith(b"250")
                assert wire.ask(START_TLS[protocol]).startswith((b"220", b"+OK", b"t OK"))
            wire.send(start)
            wires.append(wire)
    began = time.monotonic()
    for wire in wires:
        wire.rest()
        wire.close()
    assert time.monotonic() - began < COMMAND_SECONDS + SLACK_SECONDS


def test_a_message_that_stops_coming_is_given_up(node, account):
    wires = [dial(node, door) for door in ("smtp", "lmtp", "smtp+tls")]
    for wire in wires:
        wire.send(f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{account['address']}>\r\nDATA\r\n".encode())
        assert [wire.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        wire.send(b"Subject: stops\r\n\r\nhere")
    for wire in wires:
        assert wire.rest().startswith(b"421 4.4.2")
        wire.close()
    assert maildrop(node, account) == []


def test_clients_that_never_read_are_cut_off(node, account):
    """Answers pile up nowhere: the server stops reading, waits its time, and hangs up."""
    big = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 300_000
    assert deliver(node, account, big).startswith(b"250")
    before, held = memory(node), descriptors(node)
    wires = []
    for door in ("pop3s", "pop3+tls", "imaps", "imap+tls"):
        protocol = protocol_of(door)
        if not serves(node, DOORS[door][0]):
            continue
        for _ in range(10):
            wire = log_in(dial(node, door), protocol, account)
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            if protocol == "imap":
                wire.send(b"s SELECT INBOX\r\n")
                assert wire.tagged(b"s").startswith(b"s OK")
            wire.send(b"RETR 1\r\n" * 50 if protocol == "pop3" else b"f FETCH 1 BODY.PEEK[]\r\n" * 50)
            wires.append(wire)
    for door in ("smtp", "lmtp", "smtp+tls", "pop3"):
        wire = dial(node, door)
        wire.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            wire.send((b"CAPA\r\n" if door == "pop3" else b"EHLO a.test\r\n") * 500_000)
        wires.append(wire)
    grown = memory(node) - before
    assert grown < MEMORY_GROWTH_MAX, f"{grown / 1024 / 1024:.0f} MiB"
    # The cut comes by itself: the clients have not closed anything.
    mail.wait_for(lambda: descriptors(node) < held + 20, "the cut", COMMAND_SECONDS * 3 + SLACK_SECONDS)
    for wire in wires:
        wire.close()
    assert maildrop(node, account) == [big]


# --- the wrong TLS ---

@functools.cache
def client_hello():
    """What a real client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_plain_commands_on_tls_ports_close_the_session(node):
    for listener in ("submissions", "pop3s", "imaps"):
        if not serves(node, listener):
            continue
        for said in (b"EHLO a.test\r\n", b"USER a\r\n", b"a NOOP\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"\0" * 500):
            with raw(node, listener) as wire:
                wire.send(said)
                answer = wire.rest()
                # At most an alert; nothing in plain.
                assert answer == b"" or answer[0] == 0x15, answer


def test_tls_on_plain_ports_is_told_or_closed(node):
    hello = client_hello()
    for listener in LISTENERS:
        if is_implicit(listener) or not serves(node, listener):
            continue
        with raw(node, listener) as wire:
            assert wire.line().startswith(GREETING[protocol_behind(listener)])
            wire.send(hello)
            wire.end_sending()
            answer = wire.rest()
            assert answer == b"" or answer.startswith((b"554 5.5.1", b"-ERR", b"* BAD", b"* BYE")), answer


def test_garbage_handshakes(node, listener):
    dice = random.Random(listener)
    hello = client_hello()
    protocol = protocol_behind(listener)
    for turn in range(60):
        garbage = bytearray(hello)
        if turn % 3 == 0:
            garbage = bytearray(dice.randbytes(dice.randrange(1, 3000)))
        elif turn % 3 == 1:
            for _ in range(1 + turn // 10):
                garbage[dice.randrange(len(garbage))] = dice.randrange(256)
        else:
            # Records of a handshake message that is announced as very long.
            garbage = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + dice.randbytes(16380)
            garbage += (b"\x16\x03\x01\x40\x00" + dice.randbytes(16384)) * 20
        with raw(node, listener) as wire:
            if not is_implicit(listener):
                wire.line()
                if protocol in ("smtp", "lmtp"):
                    wire.ask(b"LHLO a\r\n" if protocol == "lmtp" else b"EHLO a\r\n")
                wire.ask(START_TLS[protocol])
            wire.send(bytes(garbage))
            wire.end_sending()
            wire.rest()


@pytest.mark.parametrize("door", ["smtp", "submission", "lmtp", "pop3", "imap"])
def test_nothing_said_before_the_handshake_counts_after_it(node, account, door):
    """STARTTLS injection: in the same segment, or between the answer and the ClientHello."""
    listener, protocol, _ = DOORS[door]
    if not serves(node, listener):
        pytest.skip("this program does not listen there")
    injected = {"smtp": b"EHLO injected.test\r\nMAIL FROM:<injected@b.test>\r\n", "lmtp": b"LHLO injected.test\r\n",
                "pop3": b"CAPA\r\n", "imap": b"x NOOP\r\n"}[protocol]
    hello = {"smtp": b"EHLO a\r\n", "lmtp": b"LHLO a\r\n"}.get(protocol)
    for cut in (injected, injected[:-3], injected * 100):
        with raw(node, listener) as wire:
            wire.line()
            if hello:
                wire.ask(hello)
            assert wire.ask(START_TLS[protocol] + cut).startswith((b"220", b"+OK", b"t OK"))
            wire.socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                wire._fill()
            if wire.plain.startswith(b"\x15"):
                # More than was read with the command is no ClientHello: an alert, and the end.
                assert len(cut) > 4096 and wire.rest()
                continue
            assert wire.plain == b"", "an answer to what was injected"
            wire.socket.settimeout(ANSWER_SECONDS_MAX)
            try:
                wire.start_tls(node.tls())
            except ConnectionError:
                # The alert came late: that was no fault of the server's, which serves the next one.
                assert len(cut) > 4096
                with raw(node, listener) as next_wire:
                    next_wire.line()
                healthy(node)
                continue
            # The session is at its start: nothing injected is answered, and nothing is left over.
            if protocol in ("smtp", "lmtp"):
                assert wire.ask(b"MAIL FROM:<a@b.test>\r\n").startswith(b"503 5.5.1"), "the greeting was kept"
            else:
                assert wire.goes_on(protocol)
    with raw(node, listener) as wire:
        wire.line()
        if hello:
            wire.ask(hello)
        wire.ask(START_TLS[protocol])
        wire.send(injected)
        wire.end_sending()
        answer = wire.rest()
        assert answer == b"" or answer[0] == 0x15, answer


def test_a_second_handshake_is_refused(node):
    for door, (listener, protocol, tls) in DOORS.items():
        if tls is not None and serves(node, listener):
            with dial(node, door) as wire:
                got = wire.ask(START_TLS[protocol])
                assert got.startswith((b"502", b"503", b"-ERR", b"t BAD", b"t NO")), (door, got)
                assert wire.goes_on(protocol)


def test_abandoned_handshakes(node):
    before = descriptors(node)
    for listener in ("submissions", "pop3s", "imaps"):
        if not serves(node, listener):
            continue
        for turn in range(100):
            wire = Wire(node.address(listener))
            wire.send(client_hello()[:None if turn % 2 else 50])
            wire.reset() if turn % 3 else wire.close()
    settles(lambda: descriptors(node), before + DESCRIPTORS_SLACK, "closing of abandoned handshakes")


def test_old_versions_of_tls_are_refused(node):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = node.tls()
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    with raw(node, "submissions") as wire, pytest.raises((ssl.SSLError, ConnectionError)):
        wire.start_tls(context)


# --- HTTP, floods ---

def test_http_on_mail_ports(node, listener):
    """A browser that was made to post mail commands gets nowhere."""
    host, port = node.address(listener)
    request = (b"POST / HTTP/1.1\r\nHost: %b:%d\r\nContent-Type: text/plain\r\nContent-Length: 200\r\n\r\n" % (host.encode(), port)
               + b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<user1@demo.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
    with Wire((host, port)) as wire:
        if is_implicit(listener):
            wire.start_tls(node.tls())
        wire.line()
        wire.send(request)
        wire.end_sending()
        answers = wire.rest()
    if protocol_behind(listener) in ("smtp", "lmtp"):
        assert answers.startswith(b"554 5.5.1") and answers.count(b"\n") == 1, answers
    else:
        assert not re.search(rb"(?m)^(\+OK|\S+ OK)", re.sub(rb"\+OK [^\n]*bye\r\n", b"", answers)), answers


def test_thousands_of_connections_opened_and_dropped(node, listener):
    before, memory_before = descriptors(node), memory(node)
    address = node.address(listener)
    for turn in range(1500):
        wire = socket.create_connection(address, timeout=ANSWER_SECONDS_MAX)
        if turn % 3 == 1:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        elif turn % 3 == 2:
            wire.send(b"EHLO a\r\nNOOP\r\n")
        wire.close()
    settles(lambda: descriptors(node), before + DESCRIPTORS_SLACK, "closing of dropped connections")
    grown = memory(node) - memory_before
    assert grown < MEMORY_GROWTH_MAX, f"{grown / 1024 / 1024:.0f} MiB"


def test_two_thousand_idle_connections(node):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    before = memory(node)
    wires = []
    try:
        for listener in ("smtp", "pop3"):
            for _ in range(1000):
                wires.append(socket.create_connection(node.address(listener), timeout=ANSWER_SECONDS_MAX))
        for wire in wires:
            assert wire.recv(3) in (b"220", b"+OK")
        grown = memory(node) - before
    finally:
        for wire in wires:
            wire.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert grown < MEMORY_GROWTH_MAX, f"{grown / 1024 / 1024:.0f} MiB"


def test_metrics_tell_of_it(node):
    """The sessions that were dropped are not counted as open."""
    host, port = node.address("http")

    def open_sessions():
        text = urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10).read().decode()
        found = re.findall(r"^estafette_sessions\{[^}]*\} (\S+)$", text, re.MULTILINE)
        assert found
        return sum(map(float, found))

    try:
        urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10)
    except OSError as error:
        pytest.skip(f"no metrics: {error}")
    mail.wait_for(lambda: open_sessions() < 20, "the end of all sessions")
