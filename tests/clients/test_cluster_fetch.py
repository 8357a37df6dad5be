"""A node whose bodies are still on their way from the others serves what is asked of it."""

import threading

from clustered import CONFIG, deliver, equal, found, text
from nodes import Cluster, Node

# The log keeps some entries for those who lag a little; whoever lacks more gets a snapshot, and bodies by themselves.
MESSAGES = 1300
SLOW_BYTES_PER_SECOND = 262_144


def test_bodies_that_have_not_come_are_brought_for_who_reads_them(tmp_path_factory, tmp_path):
    config = CONFIG + "\n[raft]\nsnapshot_after_entries = 100\n"
    cluster = Cluster(tmp_path_factory.mktemp("fetch"), nodes=3, accounts=2, config=config).start()
    late = Node(tmp_path, accounts=1, config=config, number=4)
    slow = f"[cluster]\nmove_bytes_per_second = {SLOW_BYTES_PER_SECOND}\n"
    late.config_file.write_text(late.config_file.read_text().replace("[cluster]\n", slow))
    try:
        account = cluster.accounts[1]
        messages = [text(number, b"A line of some length, for a body of its own\r\n" * 100) for number in range(MESSAGES)]
        deliver(cluster.any(), account, *messages)
        assert late.join(cluster.command("cluster", "token").stdout.strip()).returncode == 0
        late.start()
        assert found(late, account) == messages
        # Once a node of the three has gone, the new one has to have every shard, whatever its share was before.
        first, second, gone = cluster.nodes
        said = []
        leave = threading.Thread(target=lambda: said.append(first.command("cluster", "leave", "3").stdout))
        leave.start()
        while leave.is_alive():
            assert found(late, account) == messages
        leave.join()
        assert "has left" in said[0], said
        gone.stop()
        cluster.nodes = [first, second, late]
        assert any("sending a snapshot" in node.whole_log() for node in (first, second, gone))
        assert "could not be carried out" not in late.whole_log()
        equal(cluster)
        assert found(late, account) == messages
    finally:
        late.stop()
        cluster.stop()
