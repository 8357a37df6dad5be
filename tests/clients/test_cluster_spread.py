"""More nodes than a shard has replicas: each node has some shards, and serves every account all the same."""

import contextlib
import imaplib
import itertools
import json
import smtplib
import threading

import pytest

import mail
from api import local
from clustered import CONFIG, KEEPER_SECONDS_MAX, deliver, equal, found, group_of, text
from imap_talk import Talk
from mail import wait_for
from nodes import Cluster, Node

NODES, REPLICAS = 5, 3
SOON_SECONDS = 15
MOVE_SECONDS_MAX = 120


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("spread"), nodes=NODES, accounts=24, config=CONFIG).start()
    yield made
    made.stop()


def shards(cluster):
    """The nodes that have a replica of each shard."""
    groups = [group for group in cluster.status()["groups"] if group["group"].startswith("shard-")]
    return {group["group"]: {member["node"] for member in group["members"]} for group in groups}


def beside(cluster, account):
    """Nodes with and without the account's shard."""
    having = shards(cluster)[group_of(cluster, account)]
    split = [node for node in cluster.nodes if node.number in having], [node for node in cluster.nodes if node.number not in having]
    assert len(split[0]) == REPLICAS and len(split[1]) == len(cluster.nodes) - REPLICAS
    return split


def test_shards_are_spread_over_the_nodes(cluster):
    placed = shards(cluster)
    assert all(len(nodes) == REPLICAS for nodes in placed.values()), placed
    counts = [sum(node.number in nodes for nodes in placed.values()) for node in cluster.nodes]
    assert max(counts) < len(placed) and max(counts) - min(counts) <= 1, counts


def test_every_node_takes_and_serves_mail_of_every_account(cluster):
    for account in cluster.accounts[:8]:
        expected = []
        for node in cluster.nodes:
            message = text(f"by node {node.number}", (b"x" * 70 + b"\r\n") * 80)
            deliver(node, account, message)
            expected.append(message)
        for node in cluster.nodes:
            assert found(node, account) == expected, (account["username"], node.number)
    account = cluster.accounts[0]
    for node in cluster.nodes:
        client = mail.pop3(node, account)
        assert client.stat()[0] == NODES
        assert [b"Subject: by node 1"] == [line for line in client.retr(1)[1] if line.startswith(b"Subject")]
        client.quit()
    # One message for accounts of many shards.
    with mail.smtp(cluster.nodes[4]) as client:
        everybody = [account["address"] for account in cluster.accounts[8:16]]
        assert client.sendmail("a@elsewhere.test", everybody, text("for all")) == {}
    for account in cluster.accounts[8:16]:
        assert found(cluster.any(), account) == [text("for all")]


def test_a_session_beside_the_shard_does_all_that_others_do(cluster):
    account = cluster.accounts[16]
    _, without = beside(cluster, account)
    large = text("large", b"".join(b"%08d %s\r\n" % (number, b"y" * 60) for number in range(60_000)))
    with Talk(without[0], account, timeout=60) as talk:
        talk.ok("CREATE box")
        for number in range(30):
            talk.append("box", text(number), flags=r"(\Seen)" if number % 2 else "")
        talk.append("box", large)
        exists, _ = talk.select("box")
        assert exists == 31
        whole = talk.fetch("31", "(BODY.PEEK[])")
        assert [one["BODY[]"] for one in whole.values()] == [large]
        assert len(talk.fetch("1:*", "(FLAGS)")) == 31
        talk.ok(r"STORE 1:10 +FLAGS (\Flagged)")
        talk.ok("COPY 1:5 INBOX")
        talk.ok(r"STORE 6:7 +FLAGS (\Deleted)")
        talk.ok("EXPUNGE")
    with Talk(without[-1], account, timeout=60) as talk:
        assert talk.select("box")[0] == 29 and talk.select("INBOX")[0] == 5
        assert len(talk.fetch("1:*", "(FLAGS)")) == 5


def test_commands_that_follow_the_login_at_once_are_answered(cluster):
    account = cluster.accounts[17]
    _, without = beside(cluster, account)
    deliver(cluster.any(), account, *[text(number) for number in range(50)])
    with Talk(without[0]) as talk:
        lines = [f'a LOGIN {account["username"]} "{account["password"]}"', "b SELECT INBOX", "c FETCH 1:* (UID BODY.PEEK[])",
                 "d NOOP", "e LOGOUT"]
        talk.send("".join(f"{line}\r\n" for line in lines).encode())
        said = b"\r\n" + talk.file.read()
    for tag in b"abcde":
        assert b"\r\n%c OK" % tag in said, said[:2000]
    assert said.count(b" FETCH (") == 50


def test_idle_beside_the_shard_hears_of_mail(cluster):
    account = cluster.accounts[18]
    having, without = beside(cluster, account)
    with Talk(without[0], account, timeout=60) as talk:
        talk.select("INBOX")
        tag = talk.start("IDLE")
        assert talk.response().startswith(b"+")
        for number, node in enumerate((having[0], without[1]), 1):
            deliver(node, account, text(number))
            while b"* %d EXISTS" % number not in talk.response():
                pass
        talk.send(b"DONE\r\n")
        talk.finish(tag)


def test_administrators_see_all_from_any_node(cluster):
    account = cluster.accounts[19]
    deliver(cluster.any(), account, text("seen"))
    for node in cluster.nodes:
        path = f"/api/v1/accounts/{account['username']}"
        status, shown = local(node, "GET", path)
        assert status == 200 and shown["messages"] == 1 and shown["used_bytes"] > 0, shown
        status, boxes = local(node, "GET", path + "/mailboxes")
        assert status == 200 and {box["name"]: box["messages"] for box in boxes["items"]}["INBOX"] == 1, boxes
        listed = json.loads(node.command("account", "list", "--json").stdout)
        assert all(one["messages"] is not None for one in listed), listed


def test_the_queue_is_one_from_any_node(cluster):
    account = cluster.accounts[20]
    for node in cluster.nodes:
        client = mail.submission(node, account)
        client.sendmail(account["address"], ["someone@far.test"], text(f"out by {node.number}"))
        client.quit()
    seen = [{item["id"] for item in local(node, "GET", "/api/v1/queue")[1]["items"]} for node in cluster.nodes]
    assert len(seen[0]) == NODES and all(one == seen[0] for one in seen), seen
    for node, item in zip(cluster.nodes, sorted(seen[0])):
        assert local(node, "GET", f"/api/v1/queue/{item}")[0] == 200
        assert local(node, "POST", f"/api/v1/queue/{item}/retry")[0] == 200
        assert local(node, "DELETE", f"/api/v1/queue/{item}")[0] == 200
        assert local(node, "GET", "/api/v1/status")[1]["queue"] < NODES
    assert all(not local(node, "GET", "/api/v1/queue")[1]["items"] for node in cluster.nodes)


def test_a_full_account_is_refused_at_rcpt_on_any_node(cluster):
    account = cluster.accounts[21]
    cluster.command("account", "quota", account["username"], "20K")
    deliver(cluster.any(), account, text("fills", b"z" * 19_000 + b"\r\n"))

    def refuses(node):
        with mail.lmtp(node) as client:
            client.ehlo("x")
            client.mail("a@elsewhere.test", ["SIZE=5000"])
            return client.rcpt(account["address"])[0] == 452

    for node in cluster.nodes:
        # It looks at its own rows, which come some milliseconds after the 250 of another.
        wait_for(lambda: refuses(node), f"a refusal by node {node.number}", SOON_SECONDS)


@contextlib.contextmanager
def used(cluster, accounts, subject):
    """Meanwhile mail comes for these accounts, by any node; gives what was taken. All of it is to be."""
    stop, sent, failed = threading.Event(), [], []

    def use():
        for account in itertools.cycle(accounts):
            message = text(f"{subject} {len(sent)}")
            try:
                deliver(cluster.any(), account, message)
                sent.append((account["username"], message))
            except (OSError, smtplib.SMTPException) as error:
                failed.append(error)
            if stop.wait(0.02):
                return

    user = threading.Thread(target=use)
    user.start()
    try:
        yield sent
    finally:
        stop.set()
        user.join()
    assert sent and not failed, failed


def test_an_account_moves_to_nodes_that_had_nothing_of_it(cluster):
    account = cluster.accounts[22]
    messages = [text(number, b"q" * 20_000 + b"\r\n") for number in range(60)]
    deliver(cluster.any(), account, *messages)
    placed, own = shards(cluster), group_of(cluster, account)
    to = min(placed, key=lambda group: len(placed[group] & placed[own]))
    with used(cluster, [account], "while it moves") as sent:
        done = cluster.command("cluster", "move", account["username"], "--to", to.removeprefix("shard-"))
        assert f"has moved to shard {to.removeprefix('shard-')}" in done.stdout, done.stdout
    for node in cluster.nodes:
        assert found(node, account) == messages + [message for _, message in sent], node.number
    # Who moved it has no more of the two shards than is placed there.
    wait_for(lambda: all(len(nodes) == REPLICAS for nodes in shards(cluster).values()), "the mover to let go", MOVE_SECONDS_MAX)
    equal(cluster)


def test_a_node_goes_and_its_sessions_find_others(cluster):
    account = cluster.accounts[23]
    messages = [text(number) for number in range(5)]
    deliver(cluster.any(), account, *messages)
    having, without = beside(cluster, account)
    client = mail.imap(without[0], account)
    client.select("INBOX")
    gone = having[0]
    gone.kill()
    try:
        # Served by the one that is gone, or by another: it goes on, or is closed.
        try:
            client.noop()
        except (imaplib.IMAP4.abort, OSError):
            pass
        for node in cluster.nodes:
            if node is not gone:
                wait_for(lambda: tries(lambda: found(node, account) == messages), "service", SOON_SECONDS)
    finally:
        gone.start()
        cluster.settle()
    equal(cluster)


def tries(look):
    try:
        return look()
    except (imaplib.IMAP4.error, OSError):
        return False


def test_a_sixth_node_takes_its_share_while_mail_flows_and_leaves(cluster, tmp_path):
    accounts = cluster.accounts[:16]
    before = {account["username"]: found(cluster.any(), account) for account in accounts}
    new = Node(tmp_path, accounts=24, config=CONFIG, number=6)
    assert new.join(cluster.command("cluster", "token").stdout.strip()).returncode == 0
    new.start()
    with used(cluster, accounts, "flows") as sent:
        def share():
            placed = shards(cluster)
            mine = sum(6 in nodes for nodes in placed.values())
            return all(len(nodes) == REPLICAS for nodes in placed.values()) and mine >= len(placed) * REPLICAS // 6

        wait_for(share, "a share of the shards", KEEPER_SECONDS_MAX * 2)
        done = cluster.command("cluster", "leave", "6")
        assert "has left" in done.stdout, done.stdout
    new.stop()
    cluster.settle()
    for account in accounts:
        expected = before[account["username"]] + [message for name, message in sent if name == account["username"]]
        for node in cluster.nodes:
            assert found(node, account) == expected, (account["username"], node.number)
    equal(cluster)
