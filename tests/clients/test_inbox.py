"""RENAME of INBOX under the eyes of others, names that are normalized, and POP3 for those without UTF8."""

import poplib
import time

import pytest

import mail
from imap_talk import Talk

# More than one command of the engine moves.
MANY = 2100
TEXT = b"Subject: one\r\n\r\nbody\r\n"
FOREIGN = "Subject: Grüße\r\nFrom: José <josé@elsewhere.test>\r\nX-Note: é\r\n\r\nZoë\r\n".encode()


def fill(talk, count):
    """Appends without waiting for each answer."""
    tags = [talk.start(b"APPEND INBOX {%d+}\r\n" % len(TEXT) + TEXT) for _ in range(count)]
    for tag in tags:
        assert talk.finish(tag)[1].startswith(b"OK")


def test_who_looks_at_a_renamed_inbox_sees_its_messages_go(server, account):
    with Talk(server, account) as owner, Talk(server, account) as watcher:
        fill(owner, 3)
        assert watcher.select("INBOX")[0] == 3
        codes = watcher.select("INBOX")[1]
        pop = mail.pop3(server, account)
        owner.ok("RENAME INBOX old/mail")
        assert watcher.ok("NOOP") == [b"* 3 EXPUNGE", b"* 2 EXPUNGE", b"* 1 EXPUNGE"]
        with pytest.raises(poplib.error_proto, match="removed"):
            pop.retr(1)
        owner.append("INBOX", TEXT)
        assert watcher.ok("NOOP") == [b"* 1 EXISTS"]
        exists, now = watcher.select("INBOX")
        assert exists == 1
        assert [now[name] for name in ("UIDVALIDITY", "MAILBOXID")] == [codes["UIDVALIDITY"], codes["MAILBOXID"]]
        exists, moved = watcher.select("old/mail")
        assert exists == 3 and moved["UIDVALIDITY"] != codes["UIDVALIDITY"]


def test_a_large_inbox_is_renamed_whole(server, account):
    with Talk(server, account, timeout=120) as owner:
        fill(owner, MANY)
        owner.ok("RENAME INBOX large")
        assert owner.select("INBOX")[0] == 0
        assert owner.select("large")[0] == MANY


def test_names_in_another_form_are_told_as_they_are(server, account):
    with Talk(server, account, enable=["IMAP4rev2"]) as talk:
        told = '* LIST () "/" "Caf\u00e9" ("OLDNAME" ("Cafe\u0301"))'.encode()
        assert talk.ok('CREATE "Cafe\u0301"') == [told]
        assert told in talk.ok('SELECT "Cafe\u0301"')
        assert talk.ok('RENAME "Cafe\u0301" Tea') == ['* LIST () "/" Tea ("OLDNAME" ("Cafe\u0301"))'.encode()]
        talk.no('DELETE "Cafe\u0301"', b"[NONEXISTENT]")
        # What could not be deleted is another name: Tea is still selected.
        talk.ok("CHECK")
        assert talk.ok("DELETE Tea") == []
        talk.bad("CHECK")


def test_search_has_no_charset_with_utf8_accept(server, account):
    with Talk(server, account, enable=["UTF8=ACCEPT"]) as talk:
        talk.select("INBOX")
        talk.bad("SEARCH CHARSET UTF-8 ALL")
        talk.ok("SEARCH ALL")


def test_pop3_without_utf8_gets_ascii_headers_of_international_mail(server, account):
    with mail.smtp(server) as client:
        client.ehlo()
        client.sendmail("josé@elsewhere.test", [account["address"]], FOREIGN, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    # The same text without SMTPUTF8 is nobody's promise: it comes as it is.
    with mail.lmtp(server) as client:
        client.sendmail("a@elsewhere.test", [account["address"]], FOREIGN)
    plain = mail.pop3(server, account)
    header, body = b"\r\n".join(plain.retr(1)[1]).split(b"\r\n\r\n")
    assert header.isascii() and b"X-Note" not in header and body == "Zoë".encode()
    assert b"Subject: =?utf-8?b?R3LDvMOfZQ==?=" in header
    assert b" <invalid@internationalized-address.invalid>" in header
    assert FOREIGN in b"\r\n".join(plain.retr(2)[1]) + b"\r\n"

    host, port = server.address("pop3s")
    modern = poplib.POP3_SSL(host, port, context=server.tls(), timeout=30)
    modern.utf8()
    modern.user(account["username"])
    modern.pass_(account["password"])
    assert (b"\r\n".join(modern.retr(1)[1]) + b"\r\n").endswith(FOREIGN)


# More than the sockets of both sides hold, so that the server has to wait for who does not read.
BLOCKS_BYTES = 24 << 20
STREAMED_BYTES = 3 << 20


def two_large(server, account):
    """A client of an INBOX with two messages, of which the first fills every buffer on its way."""
    client = mail.imap(server, account)
    for size in (BLOCKS_BYTES, STREAMED_BYTES):
        message = b"Subject: large\r\n\r\n" + b"0123456789 abcdef\r\n" * (size // 19)
        assert client.append("INBOX", None, None, message)[0] == "OK"
    client.select("INBOX")
    return client


def expunge_all(server, account):
    with mail.imap(server, account) as other:
        other.select("INBOX")
        other.store("1:*", "+FLAGS.SILENT", "(\\Deleted)")
        assert other.expunge()[0] == "OK"


def test_imap_messages_that_go_while_nobody_reads_are_told_to_their_end(server, account):
    client = two_large(server, account)
    client.send(b"x FETCH 1:2 (BODY.PEEK[])\r\n")
    assert b"FETCH" in client.readline()
    expunge_all(server, account)
    rest = bytearray()
    while b"\r\nx " not in rest[-200:] and (piece := client.file.read1(1 << 16)):
        rest += piece
    assert b"\r\nx OK" in rest[-200:], rest[-200:]
    assert rest.count(b"Subject: large") == 2 and len(rest) > BLOCKS_BYTES + STREAMED_BYTES - 100


def test_a_pop3_message_that_goes_while_nobody_reads_is_told_to_its_end(server, account):
    two_large(server, account).logout()
    client = mail.pop3(server, account)
    client._putcmd("RETR 1")
    assert client._getresp().startswith(b"+OK")
    expunge_all(server, account)
    lines, octets = 0, 0
    while (line := client._getline())[0] != b".":
        lines, octets = lines + 1, octets + line[1]
    assert octets > BLOCKS_BYTES - 100


def test_pop3_messages_in_any_order_are_the_ones_asked_for(server, account):
    """A client that reads one after the other has the next ones looked up for it; none of them is taken for another,
    and one that has been removed meanwhile is gone."""
    client = mail.imap(server, account)
    for number in range(1, 41):
        assert client.append("INBOX", None, None, b"Subject: %d\r\n\r\nbody %d\r\n" % (number, number))[0] == "OK"
    reader = mail.pop3(server, account)
    for number in [*range(1, 9), 7, 12, 11, 13, 14, 40, 39, 1, 3, 5, *range(20, 31)]:
        assert reader.retr(number)[1] == [b"Subject: %d" % number, b"", b"body %d" % number]
    client.select("INBOX")
    client.store("31:35", "+FLAGS.SILENT", "(\\Deleted)")
    assert client.expunge()[0] == "OK"
    # What was looked up counts for a second.
    time.sleep(1.2)
    with pytest.raises(poplib.error_proto, match="removed|no such"):
        reader.retr(31)
    assert reader.retr(36)[1][0] == b"Subject: 36"
    # The next session starts from what is left, and from what came.
    client.append("INBOX", None, None, b"Subject: new\r\n\r\n")
    reader.quit()
    reader = mail.pop3(server, account)
    assert len(reader.list()[1]) == 36
    assert reader.retr(31)[1][0] == b"Subject: 36" and reader.retr(36)[1][0] == b"Subject: new"
    sizes = [int(line.split()[1]) for line in reader.list()[1]]
    assert sizes[-1] == len(b"Subject: new\r\n\r\n") and sizes[30] == len(b"Subject: 36\r\n\r\nbody 36\r\n")
    reader.quit()
