"""A node of three whose database is damaged: it ends, and says what is to be done; the others serve."""

import os

from clustered import CONFIG, advice, deliver, found, text
from mail import wait_for
from nodes import Cluster

# The exit status of a node whose data has to be made anew.
DAMAGED = 3
END_SECONDS_MAX = 60


def flip_rows(node, bit=3):
    """Damages the first block of every table, as one that a disk gives back wrong."""
    tables = list((node.data / "store" / "db").glob("*.sst"))
    assert tables, "no tables were written"
    for table in tables:
        with open(table, "r+b") as file:
            file.seek(20)
            byte = file.read(1)[0]
            file.seek(20)
            file.write(bytes([byte ^ (1 << bit)]))
            file.flush()
            os.fsync(file.fileno())


def test_a_damaged_node_ends_and_the_others_serve(tmp_path):
    """It stayed, refused every command, and stood in the status as any other (found by `flip-sst`)."""
    cluster = Cluster(tmp_path, nodes=3, accounts=4, config=CONFIG).start()
    try:
        account, victim = cluster.accounts[1], cluster.nodes[2]
        messages = [text(str(number)) for number in range(20)]
        deliver(cluster.nodes[0], account, *messages)
        # What the log holds is written to tables by a start.
        victim.stop()
        victim.start()
        cluster.settle()
        victim.stop()
        flip_rows(victim)
        victim.launch()
        assert victim.process.wait(END_SECONDS_MAX) == DAMAGED, victim.log()
        victim.process = None
        assert "the database of this node is damaged" in victim.log() and "join it anew" in victim.log()
        for node in cluster.nodes[:2]:
            wait_for(lambda: not advice(cluster.status(), 1)[0], "a status that keeps the others running")
            assert sorted(found(node, account)) == sorted(messages)
    finally:
        cluster.stop()
