"""How nodes come into a cluster and leave it: join tokens, nodes that do not belong, a fourth node."""

import imaplib
import base64
import json
import re

import pytest

import mail
from api import local
from clustered import CONFIG, KEEPER_SECONDS_MAX, deliver, equal, found, text
from mail import wait_for
from nodes import Cluster, Node

PREFIX = "estafette-join-1."
# A token begins with the cluster, the authority's fingerprint and the secret; then come addresses.
CLUSTER_BYTES, ADDRESSES_AT = 16, 16 + 32 + 32


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("members"), nodes=3, accounts=6, config=CONFIG).start()
    yield made
    made.stop()


@pytest.fixture
def stranger(tmp_path):
    """A node that is in no cluster yet; its data folder is empty."""
    node = Node(tmp_path, accounts=1, config=CONFIG, number=4)
    yield node
    node.stop()


def new_token(cluster):
    return cluster.command("cluster", "token").stdout.strip()


def parts(token):
    """The bytes of a token."""
    coded = token.removeprefix(PREFIX)
    return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))


def joined(parts):
    return PREFIX + base64.urlsafe_b64encode(parts).decode().rstrip("=")


def refused(node, token, words):
    """The node is not let in, is told why in one line, and has nothing that looks like a member."""
    done = node.join(token)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert re.search(words, done.stderr), done.stderr
    assert not (node.data / "cluster").exists() and not (node.data / "store").exists()


def member_ids(cluster):
    return [node["id"] for node in cluster.status()["nodes"]]


def test_damaged_tokens_are_refused(cluster, stranger):
    token = new_token(cluster)
    whole = parts(token)
    for damaged in ("", "nonsense", PREFIX, token[:-20], token.upper(), token.replace("join-1", "join-9"), token + "!"):
        refused(stranger, damaged, "no join token")
    # The secret of nobody, an authority of nobody, a cluster of nobody.
    secret = whole[:ADDRESSES_AT - 1] + bytes([whole[ADDRESSES_AT - 1] ^ 1]) + whole[ADDRESSES_AT:]
    refused(stranger, joined(secret), "there is no such join token")
    authority = whole[:CLUSTER_BYTES] + bytes([whole[CLUSTER_BYTES] ^ 1]) + whole[CLUSTER_BYTES + 1:]
    refused(stranger, joined(authority), "authority|certificate|cluster")
    refused(stranger, joined(bytes([whole[0] ^ 1]) + whole[1:]), "cluster")
    assert member_ids(cluster) == [1, 2, 3]


def test_a_token_that_has_run_out_is_refused(cluster, stranger):
    status, answer = local(cluster, "POST", "/api/v1/cluster/tokens", {"valid_ms": 1})
    assert status in (200, 201), answer
    refused(stranger, answer["token"], "run out")
    assert member_ids(cluster) == [1, 2, 3]


def test_a_folder_that_is_in_use_does_not_join(cluster, stranger):
    stranger.number = None
    stranger.start()
    done = stranger.join(token := new_token(cluster))
    assert done.returncode == 1 and "empty folder" in done.stderr, done.stderr
    stranger.stop()
    done = cluster.nodes[0].join(token)
    assert done.returncode == 1 and "belongs to a cluster already" in done.stderr, done.stderr
    assert member_ids(cluster) == [1, 2, 3]


def test_a_cluster_is_made_again_until_another_node_has_come(cluster, stranger):
    """Whoever was cut short before the token came gets one."""
    stranger.number = None
    stranger.start()
    first, second = [stranger.command("cluster", "init").stdout.strip() for _ in range(2)]
    assert first.startswith(PREFIX) and second.startswith(PREFIX) and first != second
    done = cluster.command("cluster", "init", check=False)
    assert done.returncode == 1 and "belongs to a cluster already" in done.stderr, done.stderr


def test_a_node_of_another_cluster_is_refused(cluster, tmp_path):
    """It stands where a member was, as after a mistake with folders: both sides say what is wrong, and none speaks."""
    away = cluster.nodes[2]
    other = Node(tmp_path, accounts=2, config=CONFIG, number=3)
    config = other.config_file.read_text()
    address = re.search(r'\[cluster\]\nlisten = (".*?")', away.config_file.read_text()).group(1)
    other.config_file.write_text(re.sub(r'(\[cluster\]\nlisten = )".*?"', rf"\1{address}", config))
    other.number = None
    away.stop()
    other.start()
    try:
        other.command("cluster", "init")

        def told():
            (node,) = [node for node in cluster.status()["nodes"] if node["id"] == 3]
            return not node["reachable"] and re.search("cluster", node["problem"] or "")

        wait_for(told, "words about the other cluster", KEEPER_SECONDS_MAX)
        deliver(cluster.any(), cluster.accounts[0], text("beside a stranger"))
    finally:
        other.stop()
        away.start()
        cluster.settle()
    assert text("beside a stranger") in found(away, cluster.accounts[0])
    equal(cluster)


def test_a_fourth_node_joins_takes_its_share_and_leaves(cluster, stranger):
    account = cluster.accounts[1]
    messages = [text(number) for number in range(20)]
    deliver(cluster.any(), account, *messages)
    token = new_token(cluster)
    assert stranger.join(token).returncode == 0
    assert "already" in stranger.join(token).stdout
    stranger.start()
    number = json.loads(stranger.command("cluster", "status", "--json").stdout)["node"]
    assert number == 4
    # It serves as the others do, with what it did not have.
    assert found(stranger, account) == messages
    deliver(stranger, account, text("by the fourth"))
    messages.append(text("by the fourth"))
    assert found(cluster.nodes[0], account) == messages

    def share():
        groups = [group for group in cluster.status()["groups"] if group["group"].startswith("shard-")]
        mine = [group for group in groups if any(member["node"] == 4 and member["votes"] for member in group["members"])]
        return mine and all(sum(member["votes"] for member in group["members"]) == 3 for group in groups)

    wait_for(share, "a share of the shards", KEEPER_SECONDS_MAX)
    assert found(stranger, account) == messages
    # The token worked once.
    (again := stranger.folder / "again").mkdir()
    late = Node(again, accounts=1, config=CONFIG, number=5)
    refused(late, token, "works once")
    done = cluster.command("cluster", "leave", "4")
    assert "has left" in done.stdout, done.stdout
    stranger.stop()
    cluster.settle()
    assert member_ids(cluster) == [1, 2, 3]
    for node in cluster.nodes:
        assert found(node, account) == messages, node.number
    equal(cluster)
    # Who has left does not come back with its old folder.
    stranger.launch()
    with pytest.raises((RuntimeError, OSError, imaplib.IMAP4.error)):
        stranger.wait_ready()
        mail.imap(stranger, account)
    assert member_ids(cluster) == [1, 2, 3]
