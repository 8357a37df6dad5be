"""Gives the tests servers, accounts and programs."""

import os
import pathlib
import shutil

import pytest

from alone import is_alone
from clustered import ACCOUNTS, CONFIG
from nodes import IO, NODES, PROGRAM, SEED, Cluster, Server  # noqa: F401 (tests take them from here)


def pytest_report_header():
    return f"nodes: {NODES}; which one is chosen: ESTAFETTE_TEST_SEED={SEED}"


def pytest_collection_modifyitems(items):
    """Leaves out what is about one node where there are several, and the other way round."""
    for item in items:
        if NODES > 1 and (reason := is_alone(item)):
            item.add_marker(pytest.mark.skip(reason=f"of one node: {reason}"))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that do no harm to it, with several shards however few processors the machine has."""
    node = Server(tmp_path_factory.mktemp("server"), accounts=40, shards=4, config="""
[login]
failure_delay_ms = 10
failures_per_address = 1000
""").start()
    yield node
    node.stop()


@pytest.fixture
def new_server(tmp_path):
    """Makes servers of the test's own."""
    made = []

    def make(**options):
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        node = Server(folder, **options)
        made.append(node)
        return node.start()

    yield make
    for node in made:
        node.stop()


@pytest.fixture
def account(server):
    """An account that no other test uses."""
    server.given = getattr(server, "given", 0) + 1
    return server.accounts[server.given]


def beside(name, variable):
    """A program of the harness: named by a variable, or in the folder of the server's."""
    named = os.environ.get(variable)
    if named:
        return named
    program = pathlib.Path(shutil.which(PROGRAM) or PROGRAM).resolve().with_name(name)
    if not program.exists():
        pytest.skip(f"there is no {program} ({variable})")
    return str(program)


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory):
    """Three nodes, for the tests of the cluster itself."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), nodes=3, accounts=ACCOUNTS, config=CONFIG).start()
    yield made
    made.stop()


@pytest.fixture
def cluster(shared_cluster):
    """The three nodes; whoever stops a node lets it run again at the end."""
    yield shared_cluster
    for node in shared_cluster.nodes:
        node.no_panic()
        if not node.runs:
            node.launch()
    for node in shared_cluster.nodes:
        node.wait_ready()
    shared_cluster.settle()


def needs(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


@pytest.fixture(scope="session")
def difficult_mail():
    folder = pathlib.Path(os.environ.get("ESTAFETTE_TEST_MAIL", "../shared/mail")) / "mime"
    if not folder.is_dir():
        pytest.skip(f"there is no difficult mail in {folder} (ESTAFETTE_TEST_MAIL)")
    return sorted(path for path in folder.rglob("*") if path.is_file())
