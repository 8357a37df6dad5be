"""Thunderbird without a screen: it keeps, marks, moves, sends and searches mail, and idles.

One Thunderbird with three accounts does all of it: one by implicit TLS that sends after STARTTLS and keeps mail as
maildir; the other the other way round, as mbox, with CONDSTORE; and one by POP3. Needs the Debian package `thunderbird`.
"""

import email
import email.policy
import itertools
import re
import time

import pytest

import mail
from conftest import needs
from corpus import crlf, on_the_wire, spam_assassin  # noqa: F401
from imap_talk import Talk
from thunderbird import MAILDIR, MBOX, STARTTLS, TLS, Account, Thunderbird

pytestmark = needs("thunderbird")
INBOX = ["INBOX"]
OPEN_AGAIN_SECONDS = 2
DOWNLOADS_MAX = 5


@pytest.fixture(scope="module")
def thunderbird(server, tmp_path_factory):
    server.given = getattr(server, "given", 0) + 3
    one, two, three = server.accounts[server.given - 2:server.given + 1]
    running = Thunderbird(tmp_path_factory.mktemp("thunderbird"), server, [
        Account(one, ("imaps", TLS), ("submission", STARTTLS), MAILDIR),
        Account(two, ("imap", STARTTLS), ("submissions", TLS), MBOX, {
            "use_condstore": True, "using_subscription": False, "check_all_folders_for_new": True}),
        Account(three, ("pop3s", TLS), ("submissions", TLS), MBOX, {"leave_on_server": True, "delete_mail_left_on_server": True}),
    ])
    try:
        running.start()
        running.set_up()
        yield running
    finally:
        running.stop()


@pytest.fixture(params=[0, 1], ids=["maildir", "mbox"])
def reader(thunderbird, request):
    return thunderbird.accounts[request.param]


@pytest.fixture(autouse=True)
def nothing_refused(thunderbird):
    yield
    thunderbird.wire.said()
    refused, thunderbird.wire.refused = thunderbird.wire.refused, []
    assert refused == []
    assert [said for way, said in thunderbird.smtp() if way == "S" and said[:1] in "45"] == []
    assert [said for way, said in thunderbird.pop3() if way == "S" and said.startswith("-ERR")] == []


def text(subject, body="One line\r\n"):
    return f"From: <a@elsewhere.test>\r\nTo: <b@demo.test>\r\nSubject: {subject}\r\n\r\n{body}".encode()


def deliver(server, reader, *messages):
    with mail.lmtp(server) as client:
        for message in messages:
            client.sendmail("a@elsewhere.test", [reader.address], message)


def opened_until(reader, path, check, what, seconds=mail.WAIT_SECONDS_MAX):
    """Opens a folder until `check` is true, for Thunderbird does not look again for what comes while it takes new mail."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reader.call("open", path)
        again = time.monotonic() + OPEN_AGAIN_SECONDS
        while time.monotonic() < again:
            if result := check():
                return result
            time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def found(reader, path, *subjects):
    """The messages with these subjects in a folder, once all are there."""
    def look():
        by_subject = {message["subject"]: message for message in reader.call("messages", path)}
        return [by_subject[subject] for subject in subjects] if by_subject.keys() >= set(subjects) else None

    what = f"{subjects} in {path}"
    return opened_until(reader, path, look, what) if path == INBOX else mail.wait_for(look, what)


def received(server, reader, *subjects):
    """Delivers messages with these subjects; their UIDs once Thunderbird has them."""
    deliver(server, reader, *(text(subject) for subject in subjects))
    return [message["uid"] for message in found(reader, INBOX, *subjects)]


def on_server(server, reader, mailbox):
    """The messages of a mailbox by UID: their flags and bytes."""
    client = mail.imap(server, reader.given)
    client.enable("UTF8=ACCEPT")
    status, data = client.select(f'"{mailbox}"', readonly=True)
    assert status == "OK", data
    told = {}
    if int(data[0]) > 0:
        for part in client.fetch("1:*", "(UID FLAGS BODY.PEEK[])")[1]:
            if isinstance(part, tuple):
                flags = re.search(rb"FLAGS \((.*?)\)", part[0]).group(1).decode().split()
                told[int(re.search(rb"UID (\d+)", part[0]).group(1))] = (set(flags), part[1])
    client.logout()
    return told


def names_on_server(server, reader):
    client = mail.imap(server, reader.given)
    client.enable("UTF8=ACCEPT")
    lines = client.list()[1]
    client.logout()
    return {re.search(r' "/" "?(.*?)"?$', line.decode()).group(1) for line in lines}


def mailboxes(reader):
    return {"/".join(path) for path in reader.call("folders")}


def kept_to_the_bit(server, reader, messages):
    """Delivers messages; the server has them as they were, with fields before them, and Thunderbird as the server."""
    deliver(server, reader, *messages)
    there = {uid: body for uid, (_, body) in on_server(server, reader, "INBOX").items()}
    for body, message in zip(list(there.values())[-len(messages):], messages):
        assert body.endswith(message) and mail.without_added(body[:len(body) - len(message)]) == b""
    opened_until(reader, INBOX, lambda: len(reader.call("messages", INBOX)) == len(there), "all of INBOX", 40)
    for _ in range(DOWNLOADS_MAX):
        reader.call("download", INBOX)
        kept = reader.kept(INBOX)
        # It does nothing, and says that it is done, while Thunderbird is about to get the messages by itself.
        if kept.keys() == there.keys():
            break
        time.sleep(OPEN_AGAIN_SECONDS)
    assert kept.keys() == there.keys()
    assert [uid for uid in there if kept[uid] != there[uid]] == []


def test_difficult_mail_is_kept_to_the_bit(server, reader, difficult_mail):
    messages = [message for path in difficult_mail if (message := on_the_wire(path.read_bytes())) is not None]
    assert len(messages) > 100
    kept_to_the_bit(server, reader, messages)


def test_real_mail_is_kept_to_the_bit(server, reader, spam_assassin):  # noqa: F811
    messages = [message for _, body in spam_assassin[::40] if (message := on_the_wire(body)) is not None]
    kept_to_the_bit(server, reader, messages)


def test_the_folders_of_the_account_are_found_with_their_uses(reader):
    reader.call("open", INBOX)
    mail.wait_for(lambda: mailboxes(reader) >= {"INBOX", "Drafts", "Junk", "Sent", "Trash"}, "the folders")
    for name, flag in (("Drafts", "Drafts"), ("Junk", "Junk"), ("Sent", "SentMail"), ("Trash", "Trash")):
        assert flag in reader.call("flagsOf", [name])


def test_marks_and_tags(server, reader):
    read, flagged, tagged = received(server, reader, "to be read", "to be flagged", "to be tagged")
    reader.call("mark", INBOX, [read], {"read": True})
    reader.call("mark", INBOX, [flagged], {"flagged": True})
    reader.call("mark", INBOX, [tagged], {"tagged": "$label1 errands"})

    def flags():
        there = on_server(server, reader, "INBOX")
        return [there[uid][0] for uid in (read, flagged, tagged)]

    mail.wait_for(lambda: flags() == [{"\\Seen"}, {"\\Flagged"}, {"$label1", "errands"}], "the marks")
    reader.call("mark", INBOX, [read], {"read": False})
    reader.call("mark", INBOX, [flagged], {"flagged": False, "read": True})
    reader.call("mark", INBOX, [tagged], {"untagged": "$label1"})
    mail.wait_for(lambda: flags() == [set(), {"\\Seen"}, {"errands"}], "the marks taken away")


def test_folders_of_many_scripts(server, reader):
    moved, copied = received(server, reader, "to be moved", "to be copied")
    before = mailboxes(reader)
    reader.call("create", ["日本語 の フォルダ"])
    mail.wait_for(lambda: "日本語 の フォルダ" in mailboxes(reader), "the folder")
    inner = ["日本語 の フォルダ", "Übung & more"]
    reader.call("create", inner)
    mail.wait_for(lambda: "/".join(inner) in mailboxes(reader), "the inner folder")
    reader.call("transfer", INBOX, [moved], f"server{reader.number}", inner, True)
    reader.call("transfer", INBOX, [copied], f"server{reader.number}", inner, False)
    found(reader, inner, "to be moved", "to be copied")
    there = [body for _, body in on_server(server, reader, "/".join(inner)).values()]
    assert [mail.without_added(body) for body in there] == [text("to be moved"), text("to be copied")]
    assert moved not in on_server(server, reader, "INBOX") and copied in on_server(server, reader, "INBOX")
    # The inner folder comes along.
    reader.call("rename", ["日本語 の フォルダ"], "Письма за год")
    mail.wait_for(lambda: "Письма за год/Übung & more" in mailboxes(reader), "the new name")
    assert mailboxes(reader) - before == {"Письма за год", "Письма за год/Übung & more"}
    assert names_on_server(server, reader) == mailboxes(reader)
    found(reader, ["Письма за год", "Übung & more"], "to be moved", "to be copied")
    # Into the trash with all that is in it, and out of that.
    reader.call("removeFolder", ["Письма за год"])
    mail.wait_for(lambda: "Trash/Письма за год/Übung & more" in mailboxes(reader), "the folder in the trash")
    assert names_on_server(server, reader) == mailboxes(reader)
    reader.call("emptyTrash")
    mail.wait_for(lambda: mailboxes(reader) == before, "the end of the folder")
    mail.wait_for(lambda: names_on_server(server, reader) == before, "the end of the folder on the server")


def test_new_mail_in_other_folders_is_counted(server, thunderbird):
    reader = thunderbird.accounts[1]
    reader.call("create", ["Später lesen"])
    mail.wait_for(lambda: "Später lesen" in mailboxes(reader), "the folder")
    client = mail.imap(server, reader.given)
    for flags in ("", r"(\Seen)", ""):
        client.append('"Sp&AOQ-ter lesen"', flags, None, text("put there by another"))
    client.logout()
    reader.call("check")
    mail.wait_for(lambda: reader.call("unread", ["Später lesen"]) == 2, "the count")


def test_delete_goes_through_the_trash(server, reader):
    uid, = received(server, reader, "to be deleted")
    reader.call("remove", INBOX, [uid])
    found(reader, ["Trash"], "to be deleted")
    assert uid not in on_server(server, reader, "INBOX")
    (flags, body), = on_server(server, reader, "Trash").values()
    assert mail.without_added(body) == text("to be deleted")
    reader.call("emptyTrash")
    mail.wait_for(lambda: on_server(server, reader, "Trash") == {}, "an empty trash")
    mail.wait_for(lambda: reader.call("messages", ["Trash"]) == [], "an empty trash in Thunderbird")


def test_mail_is_sent_and_a_copy_kept(server, thunderbird, reader, tmp_path):
    other, = (account for account in thunderbird.accounts[:2] if account is not reader)
    data = bytes(range(256)) * 800
    (tmp_path / "Daten für später.bin").write_bytes(data)
    before = len(thunderbird.smtp())
    subject = f"Grüße aus 東京 {reader.number}"
    body = "Schöne Grüße\n.a dot\n..two dots\nFrom here\n" + "long " * 300 + "\n.\nend\n"
    reader.compose(to=other.address, subject=subject, text=body, attachment=str(tmp_path / "Daten für später.bin"))
    sent, = found(reader, ["Sent"], subject)
    came, = found(other, INBOX, subject)
    flags, copy = on_server(server, reader, "Sent")[sent["uid"]]
    _, arrived = on_server(server, other, "INBOX")[came["uid"]]
    assert mail.without_added(arrived) == copy
    assert "\\Seen" in flags
    message = email.message_from_bytes(arrived, policy=email.policy.default)
    written, attached = message.iter_parts()
    assert message["Subject"] == subject and attached.get_filename() == "Daten für später.bin"
    assert attached.get_content() == data
    lines = [line.strip() for line in written.get_content().replace("\r\n", "\n").splitlines()]
    assert lines[:4] == ["Schöne Grüße", ".a dot", "..two dots", "From here"] and lines[-2:] == [".", "end"]
    told = thunderbird.smtp()[before:]
    commands = [said.split(" ")[0] for way, said in told if way == "C"]
    if reader.submission[1] == STARTTLS:
        assert commands[:3] == ["EHLO", "STARTTLS", "EHLO"]
        commands = commands[2:]
    assert commands[:5] == ["EHLO", "AUTH", "MAIL", "RCPT", "DATA"], commands


def test_a_draft_is_kept(server, reader):
    reader.compose(to="someone@elsewhere.test", subject="not yet", text="half of a\n", draft=True)
    reader.call("open", ["Drafts"])
    draft, = found(reader, ["Drafts"], "not yet")
    flags, body = on_server(server, reader, "Drafts")[draft["uid"]]
    assert "\\Draft" in flags and body.endswith(b"half of a\r\n")


def test_the_server_searches(server, reader):
    deliver(server, reader, text("needle one", "nothing here\r\n"),
            text("straw", "Content\r\n a needle\r\n"),
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n" + text("大阪", "5aSn6Ziq\r\n"))
    one, two, three = (message["uid"] for message in found(reader, INBOX, "needle one", "straw", "大阪"))
    for attribute, wanted, uids in (("Subject", "NEEDLE", [one]), ("Body", "a needle", [two]), ("Subject", "大", [three]),
                                    ("Body", "大阪", [three]), ("Body", "not there at all", [])):
        assert reader.call("search", INBOX, attribute, wanted) == uids, (attribute, wanted)


def test_mail_is_copied_from_account_to_account_to_the_bit(server, thunderbird, reader):
    other, = (account for account in thunderbird.accounts[:2] if account is not reader)
    subject = f"across {reader.number}"
    message = text(subject, ".dot\r\nFrom there\r\n>From quoted\r\n\xe4 8 bits \r\n\r\n" + "x" * 900 + "\r\n\r\n")
    deliver(server, reader, message)
    there, = found(reader, INBOX, subject)
    name = f"Copies {reader.number}"
    other.call("create", [name])
    mail.wait_for(lambda: name in mailboxes(other), "the folder")
    reader.call("transfer", INBOX, [there["uid"]], f"server{other.number}", [name], False)
    found(other, [name], subject)
    (_, body), = on_server(server, other, name).values()
    assert body == on_server(server, reader, "INBOX")[there["uid"]][1]


def test_idle_tells_of_what_others_do(server, thunderbird, reader):
    uids = received(server, reader, "to be changed by another", "to be taken by another")
    wire = thunderbird.wire

    def idles():
        return mail.wait_for(lambda: wire.idles(reader.username, "INBOX"), "IDLE in INBOX")

    def told_first(action, check, word):
        """The server speaks before Thunderbird does."""
        idle = idles()
        before = len(wire.said())
        action()
        result = mail.wait_for(check, word)
        lines = [(way, said) for on, way, said in wire.said()[before:] if on == idle]
        unasked = list(itertools.takewhile(lambda line: line[0] == "S", lines))
        assert any(word in said for _, said in unasked), lines
        return result

    told_first(lambda: deliver(server, reader, text("while it idles")),
               lambda: [m for m in reader.call("messages", INBOX) if m["subject"] == "while it idles"], "EXISTS")
    with Talk(server, reader.given) as talk:
        talk.select("INBOX")
        told_first(lambda: talk.ok(rf"UID STORE {uids[0]} +FLAGS (\Flagged \Seen errands)"),
                   lambda: [m for m in reader.call("messages", INBOX)
                            if m["uid"] == uids[0] and m["read"] and m["flagged"] and m["keywords"] == ["errands"]], "FETCH")
        told_first(lambda: talk.ok(f"UID MOVE {uids[1]} Junk"),
                   lambda: uids[1] not in {m["uid"] for m in reader.call("messages", INBOX)}, "EXPUNGE")


def test_pop3_leaves_mail_and_takes_it_once(server, thunderbird, difficult_mail):
    reader = thunderbird.accounts[2]
    messages = [message for path in difficult_mail[::10] if (message := on_the_wire(path.read_bytes())) is not None]
    deliver(server, reader, text("dots", ".\r\n..\r\n.dot\r\nFrom here\r\n"), *messages)
    there = [body for _, body in on_server(server, reader, "INBOX").values()]
    for _ in range(2):
        reader.call("take")
        kept = reader.kept(["Inbox"])
        # It keeps such mail with the line ends of its system.
        assert [crlf(kept[uid]) for uid in sorted(kept)] == there
    dots, = found(reader, ["Inbox"], "dots")
    reader.call("remove", ["Inbox"], [dots["uid"]])
    deliver(server, reader, text("one more"))
    reader.call("take")
    mail.wait_for(lambda: len(on_server(server, reader, "INBOX")) == len(there), "the deletion")
    found(reader, ["Inbox"], "one more")
    assert len([said for way, said in thunderbird.pop3() if way == "C" and said.startswith("RETR ")]) == len(there) + 1
    assert [body for _, body in on_server(server, reader, "INBOX").values()][:-1] == there[1:]


def test_after_an_absence_it_sees_what_has_changed(server, thunderbird):
    """Last, as it starts Thunderbird again."""
    first, second = thunderbird.accounts[:2]
    uids = {reader: received(server, reader, "changed meanwhile", "gone meanwhile") for reader in (first, second)}
    thunderbird.stop()
    for reader, (changed, gone) in uids.items():
        with Talk(server, reader.given) as talk:
            talk.select("INBOX")
            talk.ok(rf"UID STORE {changed} +FLAGS.SILENT (\Answered \Flagged)")
            talk.ok(rf"UID STORE {gone} +FLAGS.SILENT (\Deleted)")
            talk.ok(f"UID EXPUNGE {gone}")
        deliver(server, reader, text("new meanwhile"))
    before = len(thunderbird.wire.said())
    thunderbird.start()
    for reader, (changed, gone) in uids.items():
        found(reader, INBOX, "new meanwhile")
        there = {message["uid"]: message for message in reader.call("messages", INBOX)}
        assert there[changed]["flagged"] and gone not in there
        assert there.keys() == on_server(server, reader, "INBOX").keys()
    said = [line for _, way, line in thunderbird.wire.said()[before:] if way == "C"]
    assert any("CHANGEDSINCE" in line for line in said)
