"""A node whose bodies are still on their way from the others serves what is asked of it."""

from clustered import CONFIG, deliver, equal, found, text
from nodes import Cluster, Node

# The log keeps some entries for those who lag a little; whoever lacks more gets a snapshot, and bodies by themselves.
MESSAGES = 1300
SLOW_BYTES_PER_SECOND = 65536


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
        assert any("sending a snapshot" in node.log() for node in cluster.nodes)
        assert "could not be carried out" not in late.log()
        assert "has left" in cluster.command("cluster", "leave", "4").stdout
        late.stop()
        equal(cluster)
    finally:
        late.stop()
        cluster.stop()
