"""Hostile messages: smuggled ends, endless headers, parts and nesting without end; whole or refused, never two of one."""

import itertools
import random
import re
import time

import pytest

import mail
from conftest import Server
from hostile import (ANSWER_SECONDS_MAX, CONFIG, HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, SWALLOW_BYTES, GoodClient,
                     deliver, dial, healthy, log_in, maildrop, memory, serves)

# What all hostile messages of this file together may cost, caches of the store included.
MEMORY_GROWTH_MAX = 400 * 1024 * 1024
PARTS = 100_000
NESTING = 100_000
# Ways by which a message gets in, and how many answers it gets for one recipient.
# Fields that submission would add.
HEAD = b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <given@elsewhere.test>\r\n"
WAYS = ("smtp", "smtp+tls", "lmtp", "lmtp+tls", "submission+tls", "submissions")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("hostile"), accounts=40, config=CONFIG).start()
    server.at_first = memory(server)
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
    grown = memory(node) - node.at_first
    assert grown < MEMORY_GROWTH_MAX, f"{grown / 1024 / 1024:.0f} MiB"


@pytest.fixture
def account(node):
    """An account that no other test uses."""
    node.given = getattr(node, "given", 0) + 1
    return node.accounts[node.given]


def open_way(node, way, account):
    wire = dial(node, way)
    if way.startswith("submission"):
        log_in(wire, "smtp", account)
    return wire


def begin(wire, sender, *recipients):
    assert wire.ask(b"MAIL FROM:<" + sender.encode() + b">\r\n").startswith(b"250")
    for recipient in recipients:
        assert wire.ask(b"RCPT TO:<" + recipient.encode() + b">\r\n").startswith(b"250")
    assert wire.ask(b"DATA\r\n").startswith(b"354")


def has_bare(text):
    return re.search(rb"\r(?!\n)|(?<!\r)\n", text) is not None


def endings():
    """All runs of CR and LF up to three bytes, and some with company."""
    runs = [bytes(run) for size in range(4) for run in itertools.product(b"\r\n", repeat=size)]
    return [*runs, b"\r\n\r\n", b"\n\n\n\n", b"\x00\r\n", b"\r\x00\n", b"\x85", b" \r\n", b"\r \n"]


def split(data, dice):
    """The same bytes in segments of any size."""
    while data:
        size = dice.choice((1, 2, 3, 7, len(data)))
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("way", WAYS)
def test_no_end_of_data_is_smuggled(node, account, way):
    """A dot with anything but CR LF on both sides ends nothing, however the bytes are cut."""
    sender, victim = account["address"], account["address"]
    smuggled = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{victim}>\r\nDATA\r\n".encode() + HEAD + b"\r\n.\r\n"
    # Real ends of data before commands that are whole: those are a second message by right.
    expected, wrong = [], []
    dice = random.Random(way)
    for number, (before, after) in enumerate(itertools.product(endings(), endings())):
        text = HEAD + b"Subject: %d\r\n\r\nbody" % number + before + b"." + after + smuggled
        end = text.index(b"\r\n.\r\n")
        message, commands = text[:end + 2], text[end + 5:]
        refused = has_bare(message) or b"\0" in message
        if not refused:
            expected.append(re.sub(rb"(?m)^\.", b"", message))
        legitimate = commands.removeprefix(b"\r\n") == smuggled
        if legitimate:
            expected.append(HEAD + b"\r\n")
        with open_way(node, way, account) as wire:
            begin(wire, sender, victim)
            if number % 4 == 0:
                for segment in split(text, dice):
                    wire.send(segment)
            else:
                wire.send(text)
            got = wire.reply()
            if not got.startswith((b"550 5.6.11", b"554 5.6.0") if refused else b"250 2."):
                wrong.append((before, after, got))
            wire.send(b"QUIT\r\n")
            rest = wire.rest()
            if (b"354" in rest) != legitimate:
                wrong.append((before, after, rest))
    assert not wrong, wrong[:10]
    assert sorted(maildrop(node, account)) == sorted(expected)


@pytest.mark.parametrize("way", WAYS)
def test_bare_line_ends_anywhere_in_a_message_are_refused(node, account, way):
    base = HEAD + b"Subject: a\r\nX: b\r\n\r\nline one\r\n..\r\nline two\r\n"
    with open_way(node, way, account) as wire:
        for place in range(0, len(base) + 1, 3):
            for bare in (b"\r", b"\n", b"\n\r", b"\0"):
                message = base[:place] + bare + base[place:]
                if not has_bare(message) and b"\0" not in message:
                    continue
                begin(wire, account["address"], account["address"])
                wire.send(message + (b"" if message.endswith(b"\r\n") else b"\r\n") + b".\r\n")
                assert wire.reply().startswith((b"550 5.6.11", b"554 5.6.0")), message
        begin(wire, account["address"], account["address"])
        wire.send(base + b".\r\n")
        assert wire.reply().startswith(b"250")
    assert maildrop(node, account) == [base.replace(b"..\r\n", b".\r\n")]


@pytest.mark.parametrize("way", ["smtp", "smtp+tls", "lmtp", "submissions"])
def test_chunks_are_counted_and_nothing_else(node, account, way):
    """BDAT: a dot ends nothing, bare line ends are refused, sizes that cannot be are told."""
    envelope = (f"MAIL FROM:<{account['address']}>\r\nRCPT TO:<{account['address']}>\r\n").encode()
    text = HEAD + b"Subject: chunk\r\n\r\n.\r\nQUIT\r\n"
    with open_way(node, way, account) as wire:
        wire.send(envelope + b"BDAT %d LAST\r\n" % len(text) + text)
        assert [wire.reply()[:3] for _ in range(3)] == [b"250"] * 3
        wire.send(envelope + b"BDAT 5\r\na\nb\r\nBDAT 3 LAST\r\nc\r\n")
        answers = [wire.reply() for _ in range(4)]
        assert answers[2].startswith(b"550 5.6.11") and answers[3].startswith(b"503"), answers
        assert wire.ask(b"RSET\r\n").startswith(b"250")
        # A CR at the end of one chunk and its LF at the start of the next are one line end.
        wire.send(envelope + b"BDAT %d\r\n" % (len(HEAD) + 9) + HEAD + b"S: split\rBDAT 4 LAST\r\n\nb\r\n")
        answers = [wire.reply()[:3] for _ in range(4)]
        assert answers == [b"250"] * 4, answers
    assert maildrop(node, account) == [text, HEAD + b"S: split\r\nb\r\n"]


@pytest.mark.parametrize("way", ["smtp", "smtp+tls", "lmtp", "submission+tls"])
def test_headers_and_messages_without_end(node, account, way):
    field = b"X-Field: " + b"v" * 60 + b"\r\n"
    with open_way(node, way, account) as wire:
        begin(wire, account["address"], account["address"])
        wire.send(field * (2 * HEADER_BYTES_MAX // len(field)) + b"\r\nbody\r\n.\r\n")
        assert wire.reply().startswith(b"552 5.3.4")
        begin(wire, account["address"], account["address"])
        wire.send(b"Subject: a\r\n\r\n" + b"y" * (2 * 1024 * 1024) + b"\r\n.\r\n")
        assert wire.reply().startswith(b"554 5.6.0")
        begin(wire, account["address"], account["address"])
        wire.send(b"Subject: a\r\n\r\n" + b"text of a line\r\n" * (MESSAGE_BYTES_MAX // 16) + b".\r\n")
        assert wire.reply().startswith(b"552 5.3.4")
        assert wire.goes_on("smtp")
        # Past all that is read for the sake of an answer, the session ends.
        begin(wire, account["address"], account["address"])
        sent = sum(wire.send(field * 1000) for _ in range((MESSAGE_BYTES_MAX + 2 * SWALLOW_BYTES) // len(field) // 1000))
        assert wire.reply().startswith(b"552 5.3.4")
        assert sent and not wire.goes_on("smtp")
    assert maildrop(node, account) == []


def many_parts():
    return (b"Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            + b"--b\r\n\r\nx\r\n" * PARTS + b"--b--\r\n")


def nested_multiparts():
    parts = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(NESTING))
    return b"Subject: deep\r\nMIME-Version: 1.0\r\n" + parts + b"\r\nthe middle\r\n"


def nested_messages():
    return b"MIME-Version: 1.0\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * NESTING + b"Subject: inmost\r\n\r\nx\r\n"


def same_boundary():
    return (b"MIME-Version: 1.0\r\n" + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * NESTING + b"\r\nx\r\n")


def long_fields():
    size = HEADER_BYTES_MAX // 8
    return (b"From: " + b"(" * size + b"\r\nTo: " + b"a@b.test,\r\n " * (size // 11) + b"c@d.test\r\n"
            b"Subject: " + b"=?utf-8?q?=41?=\r\n " * (size // 18) + b"end\r\n"
            b"References: " + b"<a@b>\r\n " * (size // 8) + b"\r\n"
            b"Content-Type: text/plain" + b"; a*0*=%41" * (size // 11) + b"\r\n"
            b"Cc: " + b"g:a@b.test;," * (size // 12) + b'"' + b"\\" * 1000 + b"\r\n\r\nbody\r\n")


def no_header():
    return b"\r\n" * 200_000


HOSTILE = {f.__name__: f for f in (many_parts, nested_multiparts, nested_messages, same_boundary, long_fields, no_header)}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structures_are_kept_and_shown(node, account, name):
    message = HOSTILE[name]()
    assert len(message) < MESSAGE_BYTES_MAX
    began = time.monotonic()
    assert deliver(node, account, message).startswith(b"250")
    assert maildrop(node, account) == [message]
    if serves(node, "imaps"):
        look_at(node, account, message)
    assert time.monotonic() - began < ANSWER_SECONDS_MAX


def look_at(node, account, message):
    """Everything that an IMAP client can ask about a message's structure."""
    client = mail.imap(node, account)
    assert client.select("INBOX", readonly=True)[0] == "OK"
    items = ("ENVELOPE", "BODYSTRUCTURE", "BODY", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]<0.100>", "BODY.PEEK[1]<0.100>",
             "BODY.PEEK[99999]", "BODY.PEEK[" + "1." * 3000 + "MIME]", "BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]",
             "RFC822.SIZE")
    for item in items:
        client.send(b"i FETCH 1 (" + item.encode() + b")\r\n")
        assert read_to(client, b"i ").startswith((b"i OK", b"i BAD")), item
    for key in ("SUBJECT inmost", "BODY middle", "TEXT x", "HEADER X-None a", "TO c@d.test"):
        client.send(b"s SEARCH " + key.encode() + b"\r\n")
        assert read_to(client, b"s ").startswith(b"s OK")
    (found,) = mail.bodies(client)
    assert mail.without_added(found) == message
    client.logout()


def read_to(client, tag):
    """Reads responses, literals too, up to the tagged one."""
    while True:
        line = client.readline()
        assert line, "the session ended"
        if match := re.search(rb"\{(\d+)\}\r\n$", line):
            client.read(int(match.group(1)))
        elif line.startswith(tag):
            return line


def test_a_mailbox_of_hostile_messages_is_served(node, account):
    """All of them in one mailbox, asked for at once by several clients."""
    messages = [make() for make in HOSTILE.values()]
    for message in messages:
        assert deliver(node, account, message).startswith(b"250")
    assert sorted(maildrop(node, account)) == sorted(messages)
    if not serves(node, "imaps"):
        return
    clients = [mail.imap(node, account) for _ in range(4)]
    for client in clients:
        client.select("INBOX", readonly=True)
        client.send(b"f FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY.PEEK[])\r\n")
    for client in clients:
        assert read_to(client, b"f ").startswith(b"f OK")


def test_hostile_messages_by_append(node, account):
    if not serves(node, "imaps"):
        pytest.skip("no IMAP")
    client = mail.imap(node, account)
    client.sock.settimeout(ANSWER_SECONDS_MAX)
    for make in HOSTILE.values():
        assert client.append("INBOX", None, None, make())[0] == "OK"
    assert sorted(mail.bodies(client)) == sorted(make() for make in HOSTILE.values())


def test_a_thousand_recipients_and_no_more(node, account):
    with dial(node, "lmtp") as wire:
        assert wire.ask(b"MAIL FROM:<a@elsewhere.test>\r\n").startswith(b"250")
        wire.send(f"RCPT TO:<{account['address']}>\r\n".encode() * 1100)
        codes = [wire.reply()[:9] for _ in range(1100)]
        assert codes[:1000] == [b"250 2.1.5"] * 1000 and set(codes[1000:]) == {b"452 4.5.3"}
        assert wire.ask(b"DATA\r\n").startswith(b"354")
        wire.send(b"Subject: many\r\n\r\n.\r\n")
        assert [wire.reply()[:3] for _ in range(1000)] == [b"250"] * 1000
    assert 1 <= len(maildrop(node, account)) <= 1000
