"""What is left out where several nodes are one server (ESTAFETTE_TEST_NODES), and why: it is about one process."""

# A file, or a test of one, by the start of its name.
REASONS = {
    "test_durability.py": "faults of one process and one disk; estafette-chaos does the same with several nodes",
    "test_hostile_start.py": "how one process starts and ends",
    "test_soak.py": "what one process keeps in memory",
    "test_large.py": "what one process keeps in memory; test_cluster.py has large messages on several nodes",
    "test_hostile_certificates.py::test_changed_files": "the files of one node",
    "test_hostile_certificates.py::test_bad_files": "the files of one node",
    "test_hostile_certificates.py::test_the_self_made": "the certificate of one node",
    "test_hostile_logins.py::test_sessions_are_limited_by_address": "each node counts the sessions that it has",
    "test_hostile_logins.py::test_time_does_not_tell": "differences too small to be seen beside other nodes",
    "test_hostile_connections.py::test_two_thousand_idle": "what one process keeps in memory",
    "test_cli.py::test_check_finds": "the store of one node",
    "test_cli.py::test_a_folder_with_a_long_name": "the folder of one node",
}


def is_alone(item):
    """Why a test is about one node; `None` if it is not."""
    name = f"{item.path.name}::{item.name}"
    return next((reason for start, reason in REASONS.items() if name.startswith(start)), None)
