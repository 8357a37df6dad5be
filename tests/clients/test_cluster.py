"""Three nodes of one cluster as clients and administrators see them: what one took, the others have."""

import imaplib
import json
import smtplib
import socket
import threading

import pytest

import mail
from clustered import CONFIG, deliver, found, group_of, leader, text
from imap_talk import Talk
from mail import wait_for
from nodes import Cluster

# By when another node tells an idle session, or has what a client is told.
SOON_SECONDS = 5
LARGE_BYTES = 5 * 1024 * 1024


@pytest.fixture
def account(shared_cluster):
    """An account that no other test uses."""
    shared_cluster.given = getattr(shared_cluster, "given", 0) + 1
    return shared_cluster.accounts[shared_cluster.given]


def test_mail_is_seen_on_all_nodes_at_once(cluster, account):
    count = 0
    talks = [Talk(node, account) for node in cluster.nodes]
    asking = [Talk(node, account) for node in cluster.nodes]
    for talk in talks:
        assert talk.select("INBOX")[0] == 0
    for node in cluster.nodes * 3:
        deliver(node, account, text(count))
        count += 1
        for other, talk, ask in zip(cluster.nodes, talks, asking):
            # None waits: the first question has the answer.
            (status,) = ask.ok("STATUS INBOX (MESSAGES)")
            assert status.endswith(b"(MESSAGES %d)" % count), (node.number, other.number, status)
            assert b"* %d EXISTS" % count in talk.ok("NOOP"), (node.number, other.number)
            pop = mail.pop3(other, account)
            assert pop.stat()[0] == count, (node.number, other.number)
            pop.quit()
            with Talk(other, account) as new:
                assert new.select("INBOX")[0] == count, (node.number, other.number)
    for talk in talks + asking:
        talk.socket.close()


def test_what_a_session_did_is_seen_by_the_next_on_any_node(cluster, account):
    """Mailboxes made, renamed and deleted; flags; messages appended, moved and removed."""
    one, two, three = (Talk(node, account) for node in cluster.nodes)
    one.ok("CREATE box")
    two.select("box")
    _, uid = two.append("box", text("appended"))
    three.select("box")
    three.ok(rf"UID STORE {uid} +FLAGS.SILENT (\Flagged mine)")
    with Talk(cluster.nodes[0], account) as new:
        new.select("box")
        assert new.values("1", "FLAGS") == [[b"\\Flagged", b"mine"]]
        new.ok("UID MOVE 1 INBOX")
    assert two.ok("NOOP") == [b"* 1 EXPUNGE"]
    two.ok("UNSELECT")
    three.ok("UNSELECT")
    two.ok("RENAME box crate")
    assert three.select("crate")[0] == 0
    three.ok("UNSELECT")
    three.ok("DELETE crate")
    one.no("SELECT crate", b"[NONEXISTENT]")
    assert found(cluster.nodes[1], account) == [text("appended")]
    for talk in (one, two, three):
        talk.socket.close()


def test_an_idle_session_is_told_of_what_other_nodes_do(cluster, account):
    for idle_at, acting in [(cluster.nodes[0], cluster.nodes[1]), (cluster.nodes[2], cluster.nodes[0]),
                            (cluster.nodes[1], cluster.nodes[2])]:
        with Talk(idle_at, account, timeout=SOON_SECONDS) as idle, Talk(acting, account) as other:
            before, _ = idle.select("INBOX")
            tag = idle.start("IDLE")
            assert idle.response().startswith(b"+")
            deliver(acting, account, text("new"))
            assert idle.response() == b"* %d EXISTS\r\n" % (before + 1)
            other.select("INBOX")
            other.ok(rf"STORE {before + 1} +FLAGS (\Seen)")
            assert rb"* %d FETCH" % (before + 1) in (told := idle.response()) and rb"\Seen" in told
            other.ok(rf"STORE {before + 1} +FLAGS (\Deleted)")
            assert rb"\Deleted" in idle.response()
            other.ok("EXPUNGE")
            assert idle.response() == b"* %d EXPUNGE\r\n" % (before + 1)
            idle.send(b"DONE\r\n")
            idle.finish(tag)
            deliver(acting, account, text("stays"))


def test_uids_are_given_once_whoever_appends(cluster, account):
    """Sessions on all nodes append and deliver at once: each UID once, in the order of the answers of each session."""
    uids, errors = [], []

    def work(node):
        try:
            with Talk(node, account, timeout=60) as talk:
                own = []
                for turn in range(20):
                    own.append(talk.append("INBOX", text(f"{node.number} {turn}"))[1])
                    deliver(node, account, text(f"delivered {node.number} {turn}"))
                assert own == sorted(own)
                uids.extend(own)
        except BaseException as error:  # noqa: B902 (told by the test)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(node,)) for node in cluster.nodes for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(uids)) == len(uids) == 120
    views = []
    for node in cluster.nodes:
        with Talk(node, account) as talk:
            assert talk.select("INBOX")[0] == 240
            views.append(talk.fetch("1:*", "(UID FLAGS RFC822.SIZE)"))
    assert views[0] == views[1] == views[2]
    assert {int(message["UID"]) for message in views[0].values()} >= set(uids)


def test_a_large_message_is_read_on_all_nodes(cluster, account):
    follower = next(node for node in cluster.nodes if node is not leader(cluster, group_of(cluster, account)))
    line = b"0123456789abcdef" * 4 + b"\r\n"
    message = text("large", line * (LARGE_BYTES // len(line)))
    deliver(follower, account, message)
    for node in cluster.nodes:
        assert found(node, account) == [message], node.number
        with Talk(node, account) as talk:
            talk.select("INBOX")
            (size,) = talk.values("1", "RFC822.SIZE")
            (end,) = talk.fetch("1", f"(BODY.PEEK[]<{int(size) - 10}.10>)").values()
            assert list(end.values()) == [message[-10:]], node.number


def test_accounts_made_on_one_node_are_there_on_all(cluster):
    first, second, third = cluster.nodes
    made = json.loads(first.command("account", "create", f"new@{cluster.domain}", "--json").stdout)
    new = {"username": made["account"]["username"], "password": made["password"], "address": f"new@{cluster.domain}"}
    deliver(second, new, text("hello"))
    assert found(third, new) == [text("hello")]
    other = json.loads(second.command("account", "password", new["username"], "--json").stdout)["password"]
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        mail.imap(third, new)
    assert found(third, new | {"password": other}) == [text("hello")]
    third.command("account", "delete", new["username"], "--confirm", new["username"])
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(first, new, text("too late"))


def test_a_change_holds_on_all_nodes_when_its_command_returns(cluster, account):
    sessions = [smtplib.SMTP(*node.address("smtp"), timeout=30) for node in cluster.nodes]
    try:
        for session in sessions:
            session.ehlo()
        for turn in range(30):
            by = cluster.nodes[turn % len(cluster.nodes)]
            for verb, code in (("add", 250), ("remove", 550)):
                by.command("account", "address", verb, account["username"], f"also{turn}")
                for session in sessions:
                    session.rset()
                    session.mail("a@elsewhere.test")
                    assert session.rcpt(f"also{turn}@{cluster.domain}")[0] == code, (turn, verb)
    finally:
        for session in sessions:
            session.close()


def test_sessions_of_an_address_are_counted_over_nodes(tmp_path):
    limits = CONFIG + "\n[sessions]\nmax_per_address = 6\n"
    cluster = Cluster(tmp_path, nodes=3, accounts=1, config=limits).start()

    def greeting(node):
        talk = socket.create_connection(node.address("smtp"), timeout=10)
        return talk, talk.recv(512)

    def refused(node):
        talk, line = greeting(node)
        talk.close()
        return line.startswith(b"421 4.7.0")

    open_ones = []
    try:
        for turn in range(6):
            talk, line = greeting(cluster.nodes[turn % 2])
            assert line.startswith(b"220"), line
            open_ones.append(talk)
        wait_for(lambda: all(refused(node) for node in cluster.nodes), "the limit on all nodes", SOON_SECONDS)
        for talk in open_ones[::2]:
            talk.close()
        # Sooner than what nodes tell each other is forgotten by itself.
        wait_for(lambda: not refused(cluster.nodes[2]), "room again", 3)
        cluster.nodes[1].kill()

        def taken(node):
            talks = [greeting(node) for _ in range(6)]
            for talk, _ in talks:
                talk.close()
            return sum(line.startswith(b"220") for _, line in talks)

        wait_for(lambda: taken(cluster.nodes[0]) == 6, "no sessions at a dead node", 20)
    finally:
        for talk in open_ones:
            talk.close()
        cluster.stop()


def test_failed_logins_are_counted_over_nodes(tmp_path):
    limits = CONFIG.replace("failures_per_address = 1000", "failures_per_address = 6")
    cluster = Cluster(tmp_path, nodes=3, accounts=2, config=limits).start()
    try:
        account = cluster.accounts[1]
        for turn in range(6):
            with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
                mail.imap(cluster.nodes[turn % 3], account | {"password": "wrong"})

        def limited(node):
            try:
                mail.imap(node, account).logout()
            except imaplib.IMAP4.error as refusal:
                return "LIMIT" in str(refusal)

        wait_for(lambda: all(limited(node) for node in cluster.nodes), "the limit on all nodes", SOON_SECONDS)
    finally:
        cluster.stop()
