"""Malformed input on every port, with TLS and without: a clear answer or a closed session, and nobody else is hurt."""

import base64
import time

import pytest

from conftest import Server
from hostile import (CONFIG, DOORS, MESSAGE_BYTES_MAX, GoodClient, deliver, dial, healthy, log_in, maildrop, memory,
                     protocol_of, serves)

# What many hostile sessions together may cost that have not logged in.
MEMORY_BEFORE_LOGIN_MAX = 32 * 1024 * 1024
LONG_LINE_BYTES = 10 * 1024 * 1024
FOUR_GIB = 4 * 1024 ** 3


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("hostile"), accounts=12, config=CONFIG).start()
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


# Lines that are no commands, and how an answer to them begins; b"" stands for a session that only ends.
SMTP_FAULTS = [
    (b"\r\n", b"500 5.5"),
    (b"   \r\n", b"500 5.5"),
    (b"NONSENSE\r\n", b"500 5.5.1"),
    (b"NOOP\0\r\n", b"500 5.5.2"),
    (b"\0\0\0\r\n", b"500 5.5.2"),
    (b"\xff\xfe\xfd\r\n", b"500 5.5.2"),
    (b"NOOP caf\xc3\xa9\r\n", b"500 5.5.2"),
    (b"NOOP\rQUIT\r\n", b"500 5.5.2"),
    (b"\rNOOP\r\n", b"500 5.5.2"),
    (b"NOOP\r\r\n", b"500 5.5.2"),
    (b"NOOP\n", b"521 5.5.2"),
    (b"NOOP\nQUIT\r\n", b"521 5.5.2"),
    (b"\n", b"521 5.5.2"),
    (b"QUIT now\r\n", b"501 5.5.4"),
    (b"DATA\r\n", (b"503 5.5.1", b"530 5.7.0")),
    (b"RCPT TO:<a@demo.test>\r\n", (b"503 5.5.1", b"530 5.7.0")),
    (b"BDAT nothing\r\n", b"521 5.5.4"),
    (b"BDAT -1\r\n", b"521 5.5.4"),
    (b"BDAT 99999999999999999999999999 LAST\r\n", (b"521 5.5.4", b"552 5.3.4")),
    (b"BDAT 4294967296 LAST\r\n", b"552 5.3.4"),
    (b"X" * 4000 + b"\r\n", b"500 5.5"),
    (b"NOOP " + b"X" * 20_000 + b"\r\n", b"500 5.5.2"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"554 5.5.1"),
    (b"\x80\x2e\x01\x00\x02\r\n", b"500 5.5.2"),
    (b"GET / HTTP/1.1\r\nHost: mail.test\r\n\r\n", b"554 5.5.1"),
    (b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nEHLO a\r\nMAIL FROM:<>\r\n", b"554 5.5.1"),
    (b"CONNECT mail.test:25 HTTP/1.1\r\n\r\n", b"554 5.5.1"),
]
SMTP_MAIL_FAULTS = [
    (b"MAIL\r\n", b"501"),
    (b"MAIL FROM\r\n", b"501"),
    (b"MAIL FROM:\r\n", b"501"),
    (b"MAIL FROM:<a@b\r\n", b"501"),
    (b"MAIL FROM:<" + b"a" * 1500 + b"@b.test>\r\n", b"501"),
    (b"MAIL FROM:<a@b.test> SIZE=x\r\n", b"501"),
    (b"MAIL FROM:<a@b.test> SIZE=99999999999999999999999\r\n", (b"501", b"552")),
    (b"MAIL FROM:<a@b.test> SIZE=4294967296\r\n", b"552 5.3.4"),
    (b"MAIL FROM:<a@b.test> NONSENSE=1\r\n", b"555"),
    (b"MAIL FROM:<a@b.test> BODY=7BIT BODY=7BIT\r\n", b"501"),
    (b"MAIL FROM:<caf\xc3\xa9@b.test>\r\n", b"553 5.6.7"),
    (b"MAIL FROM:<\xff@b.test>\r\n", b"500 5.5.2"),
    (b"MAIL FROM:<a@b.test>\0\r\n", b"500 5.5.2"),
    (b"MAIL FROM:<a\r@b.test>\r\n", b"500 5.5.2"),
    (b"MAIL FROM:<a@b.test>\nRCPT TO:<c@d.test>\r\n", b"521 5.5.2"),
    (b"RCPT TO:<a@demo.test>\r\n", b"503 5.5.1"),
]
POP3_FAULTS = [
    (b"\r\n", b"-ERR"),
    (b"NONSENSE\r\n", b"-ERR"),
    (b"CAPA\0\r\n", b"-ERR"),
    (b"\xff\xfe\r\n", b"-ERR"),
    (b"CAPA\rQUIT\r\n", b"-ERR"),
    (b"\rCAPA\r\n", b"-ERR CR "),
    (b"CAPA\r\r\n", b"-ERR CR "),
    (b"CAPA\n", b"-ERR a line ends with CR LF"),
    (b"CAPA\nQUIT\r\n", b"-ERR a line ends with CR LF"),
    (b"\n", b"-ERR a line ends with CR LF"),
    (b"USER\r\n", b"-ERR"),
    (b"PASS\r\n", b"-ERR"),
    (b"PASS alone\r\n", b"-ERR"),
    (b"STAT\r\n", b"-ERR"),
    (b"RETR 1\r\n", b"-ERR"),
    (b"TOP 1 99999999999999999999\r\n", b"-ERR"),
    (b"AUTH NONSENSE\r\n", b"-ERR"),
    (b"APOP a 00000000000000000000000000000000\r\n", b"-ERR"),
    (b"USER " + b"a" * 20_000 + b"\r\n", b"-ERR"),
    (b"GET / HTTP/1.1\r\n", b"-ERR"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", b"-ERR"),
]
IMAP_FAULTS = [
    (b"\r\n", b"* BAD"),
    (b"a\r\n", (b"* BAD", b"a BAD")),
    (b"a NONSENSE\r\n", b"a BAD"),
    (b"a  NOOP\r\n", (b"a BAD", b"* BAD")),
    (b"a NOOP extra\r\n", b"a BAD"),
    (b"a NOOP\0\r\n", b"a BAD"),
    (b"a NOOP\xff\r\n", b"a BAD"),
    (b"a NOOP\r\r\n", b"a BAD"),
    (b"a NO\rOP\r\n", (b"a BAD", b"* BAD")),
    (b"a NOOP\n", b"a BAD"),
    (b"\n", b"* BAD"),
    (b"a LOGIN {4\n", (b"a BAD", b"* BYE")),
    (b"a LOGIN {4}\n", (b"a BAD", b"* BYE")),
    (b"+ NOOP\r\n", b"* BAD"),
    (b"a SELECT INBOX\r\n", (b"a BAD", b"a NO")),
    (b"a LOGIN {-1}\r\n", b"a BAD"),
    (b"a LOGIN {x}\r\n", b"a BAD"),
    (b"a LOGIN \"unended\r\n", b"a BAD"),
    (b"a LOGIN {%d}\r\n" % FOUR_GIB, (b"a BAD", b"a NO")),
    (b"a LOGIN {%d+}\r\n" % FOUR_GIB, (b"a BAD", b"a NO", b"* BYE")),
    (b"a LOGIN {99999999999999999999999999}\r\n", (b"a BAD", b"a NO")),
    (b"a LOGIN {99999999999999999999999999+}\r\n", (b"a BAD", b"a NO", b"* BYE")),
    (b"a LOGIN ~{%d}\r\n" % FOUR_GIB, (b"a BAD", b"a NO")),
    (b"a " + b"(" * 7000 + b"\r\n", b"a BAD"),
    (b"a NOOP " + b"x" * 60_000 + b"\r\n", (b"a BAD", b"* BAD")),
    (b"GET / HTTP/1.1\r\n", (b"GET BAD", b"* BAD")),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", b"* BAD"),
]
FAULTS = {"smtp": SMTP_FAULTS, "lmtp": SMTP_FAULTS, "pop3": POP3_FAULTS, "imap": IMAP_FAULTS}


def test_malformed_commands_are_told(node, door):
    protocol = protocol_of(door)
    wrong = []
    for said, expected in FAULTS[protocol]:
        with dial(node, door) as wire:
            got = wire.ask(said)
            if not got.startswith(expected):
                wrong.append((said[:60], expected, got))
            # Whatever follows is whole: more answers, or the end.
            if not got.startswith((b"521", b"554", b"552", b"* BYE")) and not wire.goes_on(protocol):
                rest = wire.rest()
                if not rest.startswith((b"421", b"* BYE", b"")):
                    wrong.append((said[:60], "goes on or is closed", rest[:200]))
    assert not wrong, wrong


@pytest.mark.parametrize("way", ["smtp", "smtp+tls", "lmtp", "lmtp+tls", "submission+tls", "submissions"])
def test_malformed_transactions_are_told(node, way):
    wrong = []
    for said, expected in SMTP_MAIL_FAULTS:
        with dial(node, way) as wire:
            if way.startswith("submission"):
                log_in(wire, "smtp", node.accounts[1])
            got = wire.ask(said)
            if not got.startswith(expected):
                wrong.append((said[:60], expected, got))
            if not got.startswith(b"521") and not wire.goes_on(protocol_of(way)):
                wrong.append((said[:60], "goes on", wire.rest()[:200]))
    assert not wrong, wrong


def test_nonsense_without_end_closes_the_session(node, door):
    """Bad commands are counted: a session of nothing else ends by itself."""
    with dial(node, door) as wire:
        wire.send(b"zzz zzz\r\n" * 5000)
        answers = wire.rest()
    assert 1 <= answers.count(b"\n") < 200, answers[:300]
    last = answers.splitlines()[-1]
    assert last.startswith({"smtp": b"421 4.7.0", "lmtp": b"421 4.7.0", "pop3": b"-ERR",
                            "imap": b"* BYE"}[protocol_of(door)])


def test_lines_of_ten_megabytes(node, door):
    protocol = protocol_of(door)
    before = memory(node)
    for end in (b"\r\n", b""):
        with dial(node, door) as wire:
            sent = wire.send(b"A" * LONG_LINE_BYTES + end)
            if end or not sent:
                got = wire.reply()
                assert got.startswith((b"500 5.5.2", b"521 5.5.2", b"-ERR", b"* BAD", b"* BYE")), got
                assert wire.goes_on(protocol) or wire.rest() is not None
    assert memory(node) - before < MEMORY_BEFORE_LOGIN_MAX


def test_a_long_line_of_an_open_imap_session(node):
    if not serves(node, "imaps"):
        pytest.skip("no IMAP")
    with log_in(dial(node, "imaps"), "imap", node.accounts[2]) as wire:
        wire.send(b"a SEARCH TEXT " + b"x" * LONG_LINE_BYTES + b"\r\n")
        assert wire.reply().startswith((b"a BAD", b"* BAD"))
        assert wire.goes_on("imap")
        for announced in (b"a APPEND INBOX {%d}\r\n", b"a SEARCH TEXT {%d}\r\n"):
            wire.send(announced % FOUR_GIB)
            assert wire.reply().startswith((b"a NO", b"a BAD")), "no continuation may be given"
            assert wire.goes_on("imap")
        wire.send(b"a APPEND INBOX {%d+}\r\n" % FOUR_GIB)
        assert b"BYE" in wire.rest()
    with log_in(dial(node, "imaps"), "imap", node.accounts[2]) as wire:
        wire.send(b"a APPEND INBOX {%d}\r\n" % (MESSAGE_BYTES_MAX + 1))
        assert wire.reply().startswith(b"a NO [TOOBIG]")
        wire.send(b"a APPEND INBOX {3}\r\n")
        assert wire.reply().startswith(b"+")
        wire.send(b"a\0b\r\n")
        assert wire.reply().startswith(b"a BAD")
        assert wire.goes_on("imap")


def test_bad_base64_and_other_faults_of_auth(node, door):
    protocol = protocol_of(door)
    listener, _, tls = DOORS[door]
    if protocol == "lmtp" or listener == "smtp":
        with dial(node, door) as wire:
            assert wire.ask(b"AUTH PLAIN AAAA\r\n").startswith(b"502 5.5.1")
        return
    command = {"smtp": b"AUTH PLAIN", "pop3": b"AUTH PLAIN", "imap": b"a AUTHENTICATE PLAIN"}[protocol]
    if tls is None:
        with dial(node, door) as wire:
            got = wire.ask(command + b" AGEAYg==\r\n")
            assert got.startswith((b"538 5.7.11", b"-ERR", b"a NO [PRIVACYREQUIRED]")), got
        return
    bad = (b"501", b"-ERR", b"a BAD")
    for response in (b"!!!!", b"AAA", b"AAAA=", b"====", b"\xff\xff", b"AGE\0Yg==", b"A" * 11_000, b"*",
                     base64.b64encode(b"no separators"), base64.b64encode(b"\0\0"), base64.b64encode(b"\0user\0"),
                     base64.b64encode(b"\0\xff\xfe\0\xfd"), base64.b64encode(b"a\0b\0c\0d\0e")):
        for line in (command + b" " + response + b"\r\n", None):
            with dial(node, door) as wire:
                if line is None:
                    assert wire.ask(command + b"\r\n").startswith((b"334", b"+ "))
                    line = response + b"\r\n"
                got = wire.ask(line)
                allowed = bad + (b"500", b"* BAD", b"535", b"a NO")
                assert got.startswith(allowed), (response[:40], got)
                assert wire.goes_on(protocol), response[:40]


def test_two_hundred_sessions_of_a_megabyte_without_a_line_end(node, door):
    before = memory(node)
    wires = []
    for _ in range(200 if DOORS[door][2] is None else 50):
        wires.append(dial(node, door, greet=False))
    for wire in wires:
        wire.socket.settimeout(2)
        try:
            wire.send(b"B" * (1024 * 1024 - 1))
        except TimeoutError:
            pass
    grown = memory(node) - before
    # A second later all of it has been read.
    time.sleep(1)
    grown = max(grown, memory(node) - before)
    for wire in wires:
        wire.close()
    assert grown < MEMORY_BEFORE_LOGIN_MAX, f"{grown / 1024 / 1024:.0f} MiB"


def test_eight_bit_and_nul_in_messages(node):
    account = node.accounts[3]
    eight_bit = b"Subject: caf\xe9 \xff\r\n\r\n" + bytes(b for b in range(1, 256) if b not in (10, 13)) + b"\r\n"
    assert deliver(node, account, eight_bit).startswith(b"250")
    assert deliver(node, account, b"Subject: nul\r\n\r\na\0b\r\n").startswith(b"554 5.6.0")
    assert maildrop(node, account) == [eight_bit]
