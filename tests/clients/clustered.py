"""What the tests of the cluster share: its settings, mail in and out of one node, who leads, whether replicas are equal."""

import json

import mail
from mail import wait_for

ACCOUNTS = 40
# For what a keeper has to do.
KEEPER_SECONDS_MAX = 90
CONFIG = """
[login]
failure_delay_ms = 10
failures_per_address = 1000
argon2_memory_kib = 64
argon2_passes = 1
"""


def text(subject, lines=b"A line\r\n"):
    return f"From: <a@elsewhere.test>\r\nSubject: {subject}\r\n\r\n".encode() + lines


def deliver(node, account, *messages):
    with mail.lmtp(node) as client:
        for message in messages:
            client.sendmail("a@elsewhere.test", [account["address"]], message)


def found(node, account):
    """The messages in the inbox as a node tells them."""
    client = mail.imap(node, account)
    try:
        return [mail.without_added(message) for message in mail.bodies(client)]
    finally:
        client.logout()


def group_of(cluster, account):
    shown = json.loads(cluster.command("account", "show", account["username"], "--json").stdout)
    return f"shard-{shown['shard']}"


def leader(cluster, name):
    """The node that leads a group."""
    def look():
        (group,) = [group for group in cluster.status()["groups"] if group["group"] == name]
        return group["leader"] and next((node for node in cluster.nodes if node.number == group["leader"]), None)

    return wait_for(look, f"a leader of {name}")


def equal(cluster):
    """`cluster compare` finds no two replicas that differ; all are compared once each has all."""
    cluster.settle()

    def look():
        groups = json.loads(cluster.command("cluster", "compare", "--json").stdout)
        assert "different" not in [group["verdict"] for group in groups], groups
        return {group["verdict"] for group in groups} == {"equal"}

    wait_for(look, "a comparison of all replicas", KEEPER_SECONDS_MAX)


def advice(report, number):
    (node,) = [node for node in report["nodes"] if node["id"] == number]
    return node["safe_to_stop"], node["advice"]
