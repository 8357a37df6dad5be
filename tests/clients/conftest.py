"""Starts the real program for the tests and gives them its addresses, accounts and certificate."""

import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import time

import pytest

PROGRAM = os.environ.get("ESTAFETTE_PROGRAM", "estafette")
# How the server moves bytes: every test holds for each way.
IO = os.environ.get("ESTAFETTE_TEST_IO", "auto")
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30


class Server:
    """A node with a demonstration domain, on free loopback ports."""

    def __init__(self, folder, config="", accounts=4, environment=None, wrapper=(), shards=None):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.ready_file = self.folder / "ready.json"
        self.log_file = self.folder / "log.txt"
        self.accounts_wanted = accounts
        self.environment = environment or {}
        self.wrapper = list(wrapper)
        listen = {name: "127.0.0.1:0" for name in
                  ("smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s", "http")}
        lines = ["[listen]"] + [f'{name} = ["{address}"]' for name, address in listen.items()]
        self.config_file = self.folder / "estafette.toml"
        if shards is not None:
            lines = ["[node]", f"shards = {shards}"] + lines
        self.config_file.write_text("\n".join(lines) + "\n" + config)
        self.process = None

    def start(self):
        self.ready_file.unlink(missing_ok=True)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.wrapper + [PROGRAM, "serve", "--data", str(self.data), "--config", str(self.config_file), "--demo",
                                "--demo-accounts", str(self.accounts_wanted), "--ready-file", str(self.ready_file),
                                "--io", IO],
                stdout=log, stderr=log, env=os.environ | self.environment)
        end = time.monotonic() + START_SECONDS_MAX
        while not self.ready_file.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > end:
                raise RuntimeError(f"the server was not ready in time:\n{self.log()}")
            time.sleep(0.02)
        self.ready = json.loads(self.ready_file.read_text())
        return self

    def log(self):
        return self.log_file.read_text(errors="replace")[-20000:]

    def address(self, name):
        host, port = self.ready["listeners"][name].rsplit(":", 1)
        return host.strip("[]"), int(port)

    @property
    def accounts(self):
        return self.ready["demo"]["accounts"]

    @property
    def domain(self):
        return self.ready["demo"]["domain"]

    @property
    def ca(self):
        return self.ready["ca"]

    def tls(self):
        return ssl.create_default_context(cafile=self.ca)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError("the server did not stop in time")

    def command(self, *arguments, check=True, input=None):
        """Runs a command of the program against this server."""
        return subprocess.run([PROGRAM, *arguments, "--data", str(self.data)], capture_output=True, text=True,
                              check=check, timeout=300, input=input)


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
    assert node.process.returncode == 0, node.log()


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


def needs(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


@pytest.fixture(scope="session")
def difficult_mail():
    folder = pathlib.Path(os.environ.get("ESTAFETTE_TEST_MAIL", "../shared/mail")) / "mime"
    if not folder.is_dir():
        pytest.skip(f"there is no difficult mail in {folder} (ESTAFETTE_TEST_MAIL)")
    return sorted(path for path in folder.rglob("*") if path.is_file())
