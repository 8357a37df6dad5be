"""IMAP by a bare client: what several sessions see of each other, and the extensions."""

import re
import socket
import threading
import time

import pytest

import mail
from conftest import NODES, Server
from imap_talk import Talk

TEXT = (b"From: A tester <a@elsewhere.test>\r\nTo: b@demo.test\r\nSubject: hello\r\n"
        b"Date: Tue, 1 Jul 2003 10:52:37 +0200\r\nMessage-ID: <1@elsewhere.test>\r\n\r\nA line\r\nand another\r\n")
FOUR_GIB = 4 * 1024 ** 3
SOON_SECONDS = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of these tests' own: each takes an account."""
    node = Server(tmp_path_factory.mktemp("imap"), accounts=40).start()
    yield node
    node.stop()


@pytest.fixture
def talk(server, account):
    with Talk(server, account) as client:
        yield client


@pytest.fixture
def other(server, account):
    """A second session of the same account."""
    with Talk(server, account) as client:
        yield client


def filled(talk, count=3, flags=""):
    for number in range(count):
        talk.append("INBOX", TEXT + b"%d\r\n" % number, flags)
    return talk.select("INBOX")


def test_capabilities_are_told(server, account):
    with Talk(server) as talk:
        before = talk.greeting.decode()
        assert "IMAP4rev1" in before and "IMAP4rev2" in before and "AUTH=PLAIN" in before and "SASL-IR" in before
        (line,) = talk.ok("CAPABILITY")
        assert b"STARTTLS" not in line and b"LOGINDISABLED" not in line
    with Talk(server, account) as talk:
        (line,) = talk.ok("CAPABILITY")
        wanted = ("LITERAL+ ID ENABLE IDLE NAMESPACE UNSELECT UIDPLUS MOVE CHILDREN SPECIAL-USE LIST-STATUS STATUS=SIZE "
                  "ESEARCH CONDSTORE QUOTA APPENDLIMIT UTF8=ACCEPT")
        for word in wanted.split():
            assert re.search(rb" %s[ =\r]" % re.escape(word.encode()), line + b"\r"), (word, line)
        assert any(one.startswith(b"* NAMESPACE ((") for one in talk.ok("NAMESPACE"))
        assert any(one.startswith(b"* ID (") for one in talk.ok('ID ("name" "a tester")'))


def test_items_of_a_message(talk):
    validity, uid = talk.append("INBOX", TEXT, r"(\Flagged $Label1)", '"01-Feb-2003 04:05:06 +0100"')
    exists, codes = talk.select("INBOX")
    assert (exists, codes["UIDVALIDITY"], codes["UIDNEXT"]) == (1, str(validity), str(uid + 1))
    items = "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[1]<2.3> EMAILID)"
    message = talk.fetch("1", items)[1]
    assert message["FLAGS"] == [b"\\Flagged", b"$Label1"]
    assert message["INTERNALDATE"] == b" 1-Feb-2003 03:05:06 +0000"
    assert int(message["RFC822.SIZE"]) == len(TEXT)
    assert message["ENVELOPE"][1] == b"hello" and message["ENVELOPE"][-1] == b"<1@elsewhere.test>"
    assert message["BODY[HEADER.FIELDS (SUBJECT)]"] == b"Subject: hello\r\n\r\n"
    assert message["BODY[1]<2>"] == b"lin"
    # Reading sets \Seen, and the same response tells so.
    seen = talk.fetch("1", "BODY[TEXT]")[1]
    assert seen["BODY[TEXT]"] == b"A line\r\nand another\r\n" and b"\\Seen" in seen["FLAGS"]


def test_large_messages_come_in_pieces_as_they_are(talk):
    body = TEXT + b"".join(b"%076d\r\n" % number for number in range(60_000))
    talk.append("INBOX", body)
    talk.select("INBOX")
    assert talk.values("1", "BODY[]") == [body]
    part = talk.fetch("1", "BODY.PEEK[]<1000000.2000000>")[1]["BODY[]<1000000>"]
    assert part == body[1_000_000:3_000_000]


def test_sessions_see_flags_and_expunges_of_each_other(talk, other):
    filled(talk, 4)
    other.select("INBOX")
    talk.ok(r"STORE 2:3 +FLAGS (\Seen $Work)")
    talk.ok(r"STORE 1,3 +FLAGS.SILENT (\Deleted)")
    news = other.ok("NOOP")
    assert b"* 2 FETCH (FLAGS (\\Seen $Work))" in news
    assert any(line.startswith(b"* FLAGS (") and b"$Work" in line for line in news)
    assert [line for line in talk.ok("EXPUNGE") if b"EXPUNGE" in line] == [b"* 3 EXPUNGE", b"* 1 EXPUNGE"]
    # Numbers hold while commands use them; the ones that are gone cannot be read, once this node knows that they are.
    def fetched():
        told, end = other.command("FETCH 1:4 (UID)")
        assert not any(b"EXPUNGE" in line for line in told)
        return len([line for line in told if b"FETCH" in line]), end.split(b"]")[0]

    mail.wait_for(lambda: fetched() == (2, b"NO [EXPUNGEISSUED"), "the expunge here", 5 if NODES > 1 else 0.01)
    assert other.search("UID SEARCH ALL") == [2, 4]
    assert other.search("SEARCH ALL") == [1, 2]
    talk.append("INBOX", TEXT)
    assert b"* 3 EXISTS" in other.ok("NOOP")
    assert talk.values("1:3", "UID") == [b"2", b"4", b"5"]


def test_idle_tells_at_once(server, account, talk, other):
    filled(talk, 2)
    other.select("INBOX")
    tag = other.start("IDLE")
    assert other.response().startswith(b"+ ")
    began = time.monotonic()
    talk.ok(r"STORE 1 +FLAGS (\Flagged)")
    assert other.response() == b"* 1 FETCH (FLAGS (\\Flagged))\r\n"
    talk.ok(r"STORE 2 +FLAGS.SILENT (\Deleted)")
    assert other.response() == b"* 2 FETCH (FLAGS (\\Deleted))\r\n"
    talk.ok("EXPUNGE")
    assert other.response() == b"* 2 EXPUNGE\r\n"
    with mail.lmtp(server) as client:
        client.sendmail("a@elsewhere.test", [account["address"]], TEXT)
    assert other.response() == b"* 2 EXISTS\r\n"
    assert time.monotonic() - began < SOON_SECONDS
    other.send(b"DONE\r\n")
    told, end = other.finish(tag)
    assert told == [] and end.startswith(b"OK")


def test_the_end_of_a_selected_mailbox_ends_the_session(talk, other):
    talk.ok("CREATE doomed")
    other.select("doomed")
    talk.ok("DELETE doomed")
    told = []
    other.send(b"x NOOP\r\n")
    while line := other.response():
        told.append(line)
    assert told[-1].startswith(b"* BYE")
    talk.no("SELECT doomed", b"[NONEXISTENT]")


def test_condstore(talk, other):
    _, codes = filled(talk, 4)
    start = int(codes["HIGHESTMODSEQ"])
    exists, codes = other.select("INBOX", options=" (CONDSTORE)")
    assert (exists, int(codes["HIGHESTMODSEQ"])) == (4, start)
    talk.ok(r"STORE 2 +FLAGS (\Seen)")
    (line,) = [line for line in other.ok("NOOP") if b"FETCH" in line]
    modseq = int(re.search(rb"MODSEQ \((\d+)\)", line).group(1))
    assert modseq > start
    assert list(other.fetch("1:*", f"(FLAGS) (CHANGEDSINCE {start})")) == [2]
    assert other.fetch("1:*", f"(FLAGS) (CHANGEDSINCE {modseq})") == {}
    told, end = other.command(rf"STORE 1:3 (UNCHANGEDSINCE {start}) +FLAGS (\Flagged)")
    assert end.startswith(b"OK [MODIFIED 2]"), end
    assert len([line for line in told if b"MODSEQ" in line]) == 2
    told = other.ok(f"SEARCH MODSEQ {modseq}")
    assert re.match(rb"\* SEARCH 1 2 3 \(MODSEQ \d+\)", told[0])
    assert b"HIGHESTMODSEQ" in other.ok("STATUS INBOX (HIGHESTMODSEQ)")[0]


def test_uidplus_and_move(talk, other):
    filled(talk, 5)
    other.select("INBOX")
    _, end = talk.command("UID COPY 2,4 Archive")
    assert end.startswith(b"NO [TRYCREATE]")
    talk.ok("CREATE Archive (USE (\\Archive))")
    _, end = talk.command("UID COPY 2,4:5 Archive")
    assert re.match(rb"OK \[COPYUID \d+ 2,4:5 1:3\]", end), end
    told, end = talk.command("MOVE 2:3 Archive")
    assert re.match(rb"\* OK \[COPYUID \d+ 2:3 4:5\]", told[0]), told
    assert told[1:] == [b"* 3 EXPUNGE", b"* 2 EXPUNGE"] and end.startswith(b"OK")
    assert [line for line in other.ok("NOOP") if b"EXPUNGE" in line] == [b"* 3 EXPUNGE", b"* 2 EXPUNGE"]
    # UID EXPUNGE takes only its own.
    talk.ok(r"STORE 1:3 +FLAGS.SILENT (\Deleted)")
    assert [line for line in talk.ok("UID EXPUNGE 1:4") if b"EXPUNGE" in line] == [b"* 2 EXPUNGE", b"* 1 EXPUNGE"]
    assert talk.values("1:*", "UID") == [b"5"]
    # Flags and dates go along.
    talk.append("INBOX", TEXT, r"(\Flagged $Old)", '"01-Feb-2003 04:05:06 +0000"')
    talk.ok("NOOP")
    talk.ok("MOVE 2 Archive")
    talk.select("Archive")
    moved = talk.fetch("6", "(FLAGS INTERNALDATE)")[6]
    assert moved["FLAGS"] == [b"\\Flagged", b"$Old"] and moved["INTERNALDATE"] == b" 1-Feb-2003 04:05:06 +0000"


def test_close_unselect_and_examine(talk):
    filled(talk, 2)
    talk.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)")
    talk.ok("UNSELECT")
    exists, codes = talk.select("INBOX", "EXAMINE")
    assert exists == 2 and "READ-ONLY" in codes
    talk.no(r"STORE 2 +FLAGS (\Seen)")
    talk.fetch("2", "BODY[]")
    assert talk.values("2", "FLAGS") == [[]]
    talk.ok("CLOSE")
    assert talk.select("INBOX")[0] == 2
    talk.ok("CLOSE")
    assert talk.select("INBOX")[0] == 1
    talk.ok("UNSELECT")
    talk.bad("FETCH 1 FLAGS")


def test_lists_with_status_and_special_uses(talk):
    filled(talk, 2)
    talk.ok("CREATE one/two/three")
    talk.ok("SUBSCRIBE not/there")
    told = talk.ok('LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN SIZE) CHILDREN SPECIAL-USE)')
    status = [line for line in told if line.startswith(b"* STATUS ")]
    assert b"* STATUS INBOX (MESSAGES 2 UNSEEN 2 SIZE %d)" % (2 * len(TEXT) + 6) in status
    assert any(re.match(rb'\* LIST \(.*\\HasChildren.*\) "/" one/two$', line) for line in told)
    assert any(re.match(rb'\* LIST \(.*\\Sent.*\) "/" Sent$', line) for line in told)
    special = talk.ok('LIST (SPECIAL-USE) "" "*"')
    assert sorted(line.split()[-1] for line in special) == [b"Drafts", b"Junk", b"Sent", b"Trash"]
    subscribed = talk.ok('LIST (SUBSCRIBED) "" "*"')
    assert any(b"\\NonExistent" in line and line.endswith(b"not/there") for line in subscribed)
    assert sorted(line.split()[-1] for line in talk.ok('LSUB "" "%"')) == [b"Drafts", b"INBOX", b"Junk", b"Sent",
                                                                          b"Trash", b"not"]
    assert [line.split()[-1] for line in talk.ok('LIST "" "one/%"')] == [b"one/two"]
    assert talk.ok("STATUS INBOX (MESSAGES UIDNEXT SIZE DELETED DELETED-STORAGE)") == [
        b"* STATUS INBOX (MESSAGES 2 UIDNEXT 3 SIZE %d DELETED 0 DELETED-STORAGE 0)" % (2 * len(TEXT) + 6)]


def test_esearch_and_saved_results(talk):
    filled(talk, 6)
    talk.ok(r"STORE 2,4:5 +FLAGS.SILENT (\Seen)")
    (line,) = talk.ok("UID SEARCH RETURN (MIN MAX COUNT ALL) SEEN")
    assert re.match(rb'\* ESEARCH \(TAG "t\d+"\) UID MIN 2 MAX 5 ALL 2,4:5 COUNT 3$', line) or all(
        part in line for part in (b"MIN 2", b"MAX 5", b"COUNT 3", b"ALL 2,4:5")), line
    talk.ok("SEARCH RETURN (SAVE) UNSEEN")
    assert list(talk.fetch("$", "(UID)")) == [1, 3, 6]
    assert talk.search("SEARCH NOT $") == [2, 4, 5]
    assert talk.search('SEARCH FROM "tester" SENTON 1-Jul-2003 LARGER 10 BODY "and another"') == [1, 2, 3, 4, 5, 6]
    assert talk.search("SEARCH OR UID 1 (SEEN NOT UID 4)") == [1, 2, 5]
    assert talk.search("SEARCH SENTBEFORE 1-Jul-2003") == []
    told, end = talk.command("SEARCH CHARSET KLINGON ALL")
    assert end.startswith(b"NO [BADCHARSET")


def storage(told):
    """What a QUOTA response says of STORAGE: used and limit, in KiB."""
    (line,) = [line for line in told if line.startswith(b'* QUOTA "" (')]
    return tuple(int(word) for word in re.search(rb"STORAGE (\d+) (\d+)", line).groups())


def test_quota_is_told_and_kept(server, account, talk):
    talk.no('GETQUOTA ""', b"[NONEXISTENT]")
    server.command("account", "quota", account["username"], "1M")
    filled(talk, 2)
    assert storage(talk.ok('GETQUOTA ""')) == (1, 1024)
    talk.append("INBOX", TEXT + b"x" * 600_000)
    told = talk.ok("GETQUOTAROOT INBOX")
    assert b'* QUOTAROOT INBOX ""' in told and storage(told) in ((586, 1024), (587, 1024))
    over = b"APPEND INBOX {%d+}\r\n" % 600_000 + b"x" * 600_000
    talk.no(over, b"[OVERQUOTA]")
    talk.no("COPY 1:3 Sent", b"[OVERQUOTA]")
    assert b"* STATUS Sent (MESSAGES 0)" in talk.ok("STATUS Sent (MESSAGES)")
    talk.ok("MOVE 3 Sent")
    talk.no('SETQUOTA "" (STORAGE 1)', b"[NOPERM]")
    talk.no("GETQUOTAROOT nowhere", b"[NONEXISTENT]")
    talk.ok("DELETE Sent")
    talk.ok(over)


def test_names_of_all_the_world(server, account, talk):
    talk.ok("CREATE &ZeVnLIqe-/Entw&APw-rfe")
    with Talk(server, account, enable=["UTF8=ACCEPT"]) as modern:
        names = [line.split(b'"/" ')[1] for line in modern.ok('LIST "" "*"')]
        assert "日本語/Entwürfe".encode() in [name.strip(b'"') for name in names]
        modern.ok('CREATE "Почта и ещё"')
        # Decomposed is the same name.
        modern.no('CREATE "日本語/Entwu\u0308rfe"', b"[ALREADYEXISTS]")
        modern.ok('SUBSCRIBE "日本語/Entwürfe"')
        message = "From: Jürgen <jürgen@example.org>\r\nSubject: Grüße\r\n\r\nhällo\r\n".encode()
        _, end = modern.command(b"APPEND INBOX UTF8 (~{%d+}\r\n%s)" % (len(message), message))
        assert end.startswith(b"OK [APPENDUID"), end
        modern.select("INBOX")
        assert modern.values("1", "BODY[]") == [message]
        assert modern.search('SEARCH SUBJECT "GRÜSSE"'.replace("SS", "ß")) == [1]
    names = [line.split(b'"/" ')[1].strip(b'"') for line in talk.ok('LIST "" "*"')]
    assert b"&BB8EPgRHBEIEMA- &BDg- &BDUESQRR-" in names
    for name in ("a b", "a/b c/d", "..", "~user", "&-x", "(x)", "x{3}"):
        talk.ok(f'CREATE "{name}"')
        assert talk.select(name)[0] == 0
        talk.ok(f'RENAME "{name}" "new {name}"')
        talk.ok(f'DELETE "new {name}"')
    for name in ("a//b", "/a", "a*b", "a%b", "#x", "x" * 256):
        talk.no(f'CREATE "{name}"', b"[CANNOT]")


def test_rename_and_delete_of_families(talk):
    talk.ok("CREATE a/b/c")
    talk.append("a/b", TEXT)
    talk.ok("SUBSCRIBE a/b")
    talk.ok("RENAME a x/y")
    names = {line.split()[-1] for line in talk.ok('LIST "" "x*"')}
    assert names == {b"x", b"x/y", b"x/y/b", b"x/y/b/c"}
    assert talk.select("x/y/b")[0] == 1
    talk.ok("DELETE x/y/b")
    talk.no("SELECT x/y/b")
    assert any(b"\\NoSelect" in line or b"\\Noselect" in line for line in talk.ok('LIST "" "x/y/b"'))
    talk.no("DELETE x/y/b", b"[HASCHILDREN]")
    # INBOX gives its messages away and stays.
    filled(talk, 2)
    talk.ok("UNSELECT")
    talk.ok("RENAME INBOX old")
    assert talk.select("INBOX")[0] == 0 and talk.select("old")[0] == 2
    talk.no("DELETE INBOX", b"[CANNOT]")


def test_pipelined_commands_are_answered_in_order(talk):
    commands = [b'APPEND INBOX (\\Seen) {%d+}\r\n' % len(TEXT) + TEXT, b"SELECT INBOX", b"FETCH 1 (FLAGS BODY.PEEK[])",
                b"STORE 1 +FLAGS (\\Flagged)", b"SEARCH FLAGGED", b"COPY 1 Sent", b"NONSENSE", b"UID FETCH 1 (FLAGS)",
                b'STATUS Sent (MESSAGES)', b"NOOP"]
    tags = [talk.tag() for _ in commands]
    talk.send(b"".join(tag + b" " + command + b"\r\n" for tag, command in zip(tags, commands)))
    answers = [talk.finish(tag) for tag in tags]
    assert [end.split()[0] for _, end in answers] == [b"OK"] * 6 + [b"BAD"] + [b"OK"] * 3
    assert b"* SEARCH 1" in answers[4][0] and b"* STATUS Sent (MESSAGES 1)" in answers[8][0]


def test_literals(talk):
    talk.send(b"a1 APPEND INBOX {%d}\r\n" % len(TEXT))
    assert talk.response().startswith(b"+ ")
    talk.send(TEXT + b"\r\n")
    assert talk.finish(b"a1")[1].startswith(b"OK [APPENDUID")
    talk.send(b"a2 STATUS {5}\r\n")
    assert talk.response().startswith(b"+ ")
    talk.send(b"INBOX (MESSAGES)\r\n")
    assert talk.finish(b"a2")[1].startswith(b"OK")
    # Too large: refused before a byte of it is sent.
    _, end = talk.command(b"APPEND INBOX {%d}" % FOUR_GIB)
    assert end.startswith(b"NO [TOOBIG]") or end.startswith(b"BAD [TOOBIG]"), end
    _, end = talk.command(b"APPEND INBOX {99999999999999999999}")
    assert end.startswith((b"NO", b"BAD")), end
    assert talk.select("INBOX")[0] == 1
    # Not a sync literal: it comes anyway, so the session has to end.
    talk.send(b"a3 APPEND INBOX {%d+}\r\n" % FOUR_GIB)
    rest = b""
    while line := talk.response():
        rest += line
    assert b"* BYE" in rest, rest


def test_a_message_for_a_mailbox_that_is_not_there(talk):
    talk.send(b"a APPEND nowhere {%d+}\r\n%s\r\n" % (len(TEXT), TEXT))
    assert talk.finish(b"a")[1].startswith(b"NO [TRYCREATE]")
    _, end = talk.command(b"APPEND INBOX {0+}\r\n")
    assert end.startswith((b"NO", b"BAD"))


def test_bad_commands_are_told_and_others_go_on(server, account, talk, other):
    filled(talk, 1)
    other.select("INBOX")
    for command in ("FETCH 2 FLAGS", "FETCH 0 FLAGS", "FETCH 1 (NONSENSE)", "FETCH 1 BODY[", "SEARCH", "UID NOOP",
                    "STORE 1 FLAGS (\\Recent\\)", "SELECT", "APPEND INBOX", "COPY 1", "FETCH 1:2:3 FLAGS"):
        talk.bad(command)
        talk.ok("NOOP")
    assert other.values("1", "UID") == [b"1"]
    # A session that is cut off in the middle harms nobody.
    with Talk(server, account) as broken:
        broken.send(b"x APPEND INBOX {1000000+}\r\nhalf")
        broken.socket.shutdown(socket.SHUT_RDWR)
    assert other.ok("NOOP") == []


def test_many_sessions_at_one_mailbox_agree(server, account):
    """Each changes flags and adds and removes messages; in the end all see the same as a new session."""
    with Talk(server, account) as talk:
        filled(talk, 10)
    errors = []

    def work(number):
        try:
            with Talk(server, account, timeout=60) as talk:
                talk.select("INBOX")
                for turn in range(15):
                    talk.command(rf"UID STORE {1 + (number + turn) % 10} +FLAGS (k{number} \Flagged)")
                    _, uid = talk.append("INBOX", TEXT + b"%d %d\r\n" % (number, turn))
                    talk.ok("NOOP")
                    talk.ok(rf"UID STORE {uid} +FLAGS.SILENT (\Deleted)")
                    if turn % 3:
                        talk.ok(f"UID EXPUNGE {uid}")
                talk.ok("NOOP")
        except BaseException as error:  # noqa: B902 (told by the test)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Talk(server, account) as talk:
        exists, codes = talk.select("INBOX")
        assert exists == 10 + 8 * 5
        assert codes["UIDNEXT"] == str(10 + 8 * 15 + 1)
        flags = talk.values("1:10", "FLAGS")
        assert all(b"\\Flagged" in one and len(one) == 9 for one in flags), flags


def test_deliveries_are_seen_once_by_an_idle_session(server, account, talk):
    talk.select("INBOX")
    tag = talk.start("IDLE")
    assert talk.response().startswith(b"+ ")

    def send():
        with mail.lmtp(server) as client:
            for _ in range(20):
                client.sendmail("a@elsewhere.test", [account["address"]], TEXT)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    told = [0]
    while told[-1] < 80:
        told.append(int(re.match(rb"\* (\d+) EXISTS", talk.response()).group(1)))
    for thread in threads:
        thread.join()
    assert told == sorted(set(told))
    talk.send(b"DONE\r\n")
    talk.finish(tag)
    assert len(talk.values("1:*", "UID")) == 80


def test_long_searches_do_not_hold_up_others(server, account):
    with Talk(server, account) as talk:
        count, _ = filled(talk, 1000)
        while count < 16_000:
            talk.ok("COPY 1:* INBOX")
            count = talk.select("INBOX")[0]
    searching = [Talk(server, account, timeout=120) for _ in range(10)]
    try:
        for talk in searching:
            talk.select("INBOX")
        tags = [talk.start('SEARCH TEXT "there is no such text"') for talk in searching]
        slowest = 0
        with Talk(server, server.accounts[0]) as bystander:
            for _ in range(20):
                began = time.monotonic()
                bystander.select("INBOX")
                bystander.append("INBOX", TEXT)
                slowest = max(slowest, time.monotonic() - began)
        # A session that goes away ends its search.
        searching.pop().socket.close()
        assert [talk.finish(tag)[0] for talk, tag in zip(searching, tags)] == [[b"* SEARCH"]] * len(searching)
        assert slowest < SOON_SECONDS, slowest
    finally:
        for talk in searching:
            talk.socket.close()
