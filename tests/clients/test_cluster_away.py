"""Three nodes of one cluster while one or two are away, and when all come back at once."""

import contextlib
import imaplib
import json
import re
import smtplib
import threading
import time

import pytest

import mail
from clustered import advice, deliver, equal, found, group_of, leader, text
from imap_talk import Talk
from mail import wait_for

# Without service for accounts of a node that was killed (the goal is 3 s on a machine that is not busy).
FAILOVER_SECONDS_MAX = 20
# Who has no majority says so within this.
REFUSAL_SECONDS_MAX = 20


@pytest.fixture
def account(shared_cluster):
    """An account that no other test uses."""
    shared_cluster.given = getattr(shared_cluster, "given", 0) + 1
    return shared_cluster.accounts[shared_cluster.given]


class Senders:
    """Delivers on some nodes until it is told to stop; keeps what was taken, and the longest time without that."""

    def __init__(self, nodes, account):
        self.account, self.taken, self.doubtful, self.longest = account, [], [], 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(node,), daemon=True) for node in nodes]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def run(self, node):
        last, turn = time.monotonic(), 0
        while not self.stopping.is_set():
            message = text(f"{node.number} {turn}")
            turn += 1
            try:
                deliver(node, self.account, message)
                self.taken.append(message)
                self.longest, last = max(self.longest, time.monotonic() - last), time.monotonic()
            except smtplib.SMTPException:
                # Put off: it may be there, and is not sent again.
                self.doubtful.append(message)
            except OSError:
                self.doubtful.append(message)
            time.sleep(0.02)

    def more(self, count=20, seconds=FAILOVER_SECONDS_MAX):
        """Waits until so many more are taken."""
        wanted = len(self.taken) + count
        wait_for(lambda: len(self.taken) >= wanted, f"{count} more deliveries", seconds)


def nothing_lost_or_doubled(cluster, account, senders):
    for node in cluster.nodes:
        there = found(node, account)
        assert len(set(there)) == len(there), f"node {node.number} has messages twice"
        assert set(senders.taken) <= set(there), f"node {node.number} lacks {set(senders.taken) - set(there)}"
        assert set(there) <= set(senders.taken) | set(senders.doubtful), node.number


def test_the_others_go_on_when_the_leader_is_killed(cluster, account):
    name = group_of(cluster, account)
    victim = leader(cluster, name)
    rest = [node for node in cluster.nodes if node is not victim]
    talks = [Talk(node, account, timeout=FAILOVER_SECONDS_MAX) for node in rest]
    for talk in talks:
        talk.select("INBOX")
    with Senders(rest, account) as senders:
        senders.more()
        victim.kill()
        senders.more()
        assert leader(cluster, name) is not victim
        # Sessions that were open are, for reading and for writing.
        for talk in talks:
            talk.append("Drafts", text("a draft"))
            talk.ok("NOOP")
            talk.ok("FETCH 1 (FLAGS BODY.PEEK[])")
        victim.start()
        senders.more()
    cluster.settle()
    nothing_lost_or_doubled(cluster, account, senders)
    for node in cluster.nodes:
        with Talk(node, account) as talk:
            assert talk.select("Drafts")[0] == 2, node.number
    for talk in talks:
        talk.socket.close()
    equal(cluster)
    assert senders.longest < FAILOVER_SECONDS_MAX


def test_an_idle_session_outlives_its_leader(cluster, account):
    victim = leader(cluster, group_of(cluster, account))
    here, there = (node for node in cluster.nodes if node is not victim)
    with Talk(here, account, timeout=FAILOVER_SECONDS_MAX) as idle:
        idle.select("INBOX")
        idle.start("IDLE")
        assert idle.response().startswith(b"+")
        victim.kill()

        def taken():
            with contextlib.suppress(smtplib.SMTPException):
                deliver(there, account, text("after"))
                return True

        wait_for(taken, "a delivery", FAILOVER_SECONDS_MAX)
        assert re.match(rb"\* [1-9]\d* EXISTS", idle.response())


def test_each_node_is_stopped_and_started_in_turn(cluster, account):
    with Senders(cluster.nodes, account) as senders:
        for node in cluster.nodes:
            senders.more(10)
            wait_for(lambda: advice(cluster.status(), node.number)[0], f"leave to stop node {node.number}")
            node.stop()
            senders.more(10)
            node.start()
            cluster.settle()
        senders.more(10)
    nothing_lost_or_doubled(cluster, account, senders)
    equal(cluster)


def test_status_says_who_may_be_stopped(cluster):
    report = cluster.status()
    assert all(node["safe_to_stop"] and node["advice"].startswith("Yes: ") for node in report["nodes"]), report
    assert cluster.command("cluster", "status").stdout.count("Yes: all groups go on without it.") == 3
    cluster.nodes[2].kill()

    def told():
        report = cluster.status()
        rest = [advice(report, number) for number in (1, 2)]
        only = all(not safe and re.match("No: .* needs 2 replicas .*, and has 1 without it", why) for safe, why in rest)
        # Until each group has a leader again, nobody may be stopped at all.
        return only and advice(report, 3)[0]

    wait_for(told, "the word that no other node may be stopped", FAILOVER_SECONDS_MAX)
    (gone,) = [node for node in cluster.status()["nodes"] if node["id"] == 3]
    assert not gone["reachable"] and gone["problem"]
    shown = cluster.command("cluster", "status").stdout
    assert shown.count("No: ") == 2 and shown.count("Yes: ") == 1, shown
    assert json.loads(cluster.command("status", "--json").stdout)["takes_mail"]


def put_off(node, account):
    """A node without a majority says that it cannot, soon, in each protocol."""
    def timed(what, act):
        began = time.monotonic()
        result = act()
        took = time.monotonic() - began
        assert took < REFUSAL_SECONDS_MAX, f"{what} took {took:.1f} s"
        return result

    def code():
        try:
            deliver(node, account, text("refused"))
        except smtplib.SMTPRecipientsRefused as refusal:
            return next(iter(refusal.recipients.values()))[0]
        except smtplib.SMTPResponseException as refusal:
            return refusal.smtp_code

    assert timed("LMTP", code) == 451


def test_one_of_three_acknowledges_nothing_and_goes_on_when_another_is_back(cluster, account):
    deliver(cluster.any(), account, text("before"))
    last, one, two = cluster.nodes
    talk = Talk(last, account, timeout=REFUSAL_SECONDS_MAX)
    talk.select("INBOX")
    one.kill()
    two.kill()
    put_off(last, account)
    for command in ("CREATE box", r"STORE 1 +FLAGS (\Seen)", "COPY 1 Drafts", "DELETE Drafts", "RENAME Junk Other"):
        began = time.monotonic()
        talk.no(command, b"[UNAVAILABLE]")
        assert time.monotonic() - began < REFUSAL_SECONDS_MAX, command
    _, end = talk.command(b"APPEND INBOX {%d+}\r\n" % len(text("x")) + text("x"))
    assert end.startswith(b"NO [UNAVAILABLE]"), end
    with pytest.raises((imaplib.IMAP4.error, OSError)) as refusal:
        mail.imap(last, account)
    assert "AUTHENTICATIONFAILED" not in str(refusal.value), "a right password is not called wrong"
    report = json.loads(last.command("cluster", "status", "--json").stdout)
    assert not any(node["safe_to_stop"] for node in report["nodes"]), report
    one.start()

    def taken():
        with contextlib.suppress(smtplib.SMTPException):
            deliver(last, account, text("after"))
            return True

    wait_for(taken, "a delivery", FAILOVER_SECONDS_MAX)
    assert any(told.endswith(b" EXISTS") for told in talk.ok("CREATE box") + talk.ok("NOOP"))
    talk.socket.close()
    two.start()
    cluster.settle()
    for node in cluster.nodes:
        there = found(node, account)
        assert there.count(text("before")) == there.count(text("after")) == 1 and text("x") not in there
        assert there.count(text("refused")) <= 1
    equal(cluster)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_all_nodes_start_again_at_once(cluster, account, how):
    messages = [text(number) for number in range(30)]
    for number, message in enumerate(messages):
        deliver(cluster.nodes[number % 3], account, message)
    if how == "killed":
        cluster.kill()
    else:
        cluster.stop()
    cluster.start()
    for node in cluster.nodes:
        assert sorted(found(node, account)) == sorted(messages), node.number
    equal(cluster)
