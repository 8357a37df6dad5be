"""The real program as the tests start it: one node, or several that are one cluster and look like one server.

With ESTAFETTE_TEST_NODES=3 every test gets a cluster of three and each connection, and each command of the program,
goes to a node of its own choice. Mail is served on 127.0.0.1, the mesh of node N listens on 127.0.0.N.
"""

import json
import os
import pathlib
import random
import signal
import socket
import ssl
import subprocess
import time

PROGRAM = os.environ.get("ESTAFETTE_PROGRAM", "estafette")
# How the server moves bytes: every test holds for each way.
IO = os.environ.get("ESTAFETTE_TEST_IO", "auto")
NODES = int(os.environ.get("ESTAFETTE_TEST_NODES", "1"))
# Which nodes are chosen follows from it, as far as tests do one thing after the other.
SEED = int(os.environ.get("ESTAFETTE_TEST_SEED") or time.time_ns() % 1_000_000)
DICE = random.Random(SEED)
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
# For a cluster to have all of its replicas.
SETTLE_SECONDS_MAX = 90
COMMAND_SECONDS_MAX = 300
# A keeper that has more to do does it within this.
LOOK_SECONDS = 1
VOTERS_MAX = 3
# Of the groups that all nodes have.
CONTROL_VOTERS_MAX = 5
# Below those from which the system takes ports for connections.
MESH_PORTS = (20_000, 32_000)


class Node:
    """A node with a demonstration domain, on free loopback ports."""

    def __init__(self, folder, config="", accounts=4, environment=None, wrapper=(), shards=None, number=None):
        """`number`: its place in a cluster."""
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.ready_file = self.folder / "ready.json"
        self.log_file = self.folder / "log.txt"
        self.accounts_wanted = accounts
        self.environment = environment or {}
        self.wrapper = list(wrapper)
        self.number = number
        listen = {name: "127.0.0.1:0" for name in
                  ("smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s", "http")}
        lines = ["[listen]"] + [f'{name} = ["{address}"]' for name, address in listen.items()]
        self.config_file = self.folder / "estafette.toml"
        if shards is not None:
            lines = ["[node]", f"shards = {shards}"] + lines
        if number is not None:
            host = f"127.0.0.{number}"
            lines += ["[cluster]", f'listen = "{host}:{free_port(host)}"', f'label = "node{number}"']
        self.config_file.write_text("\n".join(lines) + "\n" + config)
        self.process = None

    @property
    def nodes(self):
        return [self]

    def start(self):
        self.launch()
        return self.wait_ready()

    def launch(self):
        self.ready_file.unlink(missing_ok=True)
        # The demonstration is made by the first node; the others have it from there.
        demo = ["--demo", "--demo-accounts", str(self.accounts_wanted)] if self.number in (None, 1) else []
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.wrapper + [PROGRAM, "serve", "--data", str(self.data), "--config", str(self.config_file), *demo,
                                "--ready-file", str(self.ready_file), "--io", IO],
                stdout=log, stderr=log, env=os.environ | self.environment)

    def wait_ready(self):
        end = time.monotonic() + START_SECONDS_MAX
        while not self.ready_file.exists():
            status = self.process.poll()
            if status is None and time.monotonic() < end:
                time.sleep(0.02)
                continue
            self.kill()
            said = "was not ready in time" if status is None else f"ended with {status}"
            raise RuntimeError(f"the server {said}:\n{self.log()}")
        self.ready = json.loads(self.ready_file.read_text())
        return self

    def log(self):
        return self.whole_log()[-20000:]

    def whole_log(self):
        return self.log_file.read_text(errors="replace")

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

    @property
    def runs(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def terminate(self):
        if self.runs:
            self.process.terminate()

    def stop(self):
        """Ends it as an administrator does; it has to end well."""
        if self.process is None:
            return
        self.terminate()
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"the server did not stop in time:\n{self.log()}")
        self.process = None
        assert status == 0, f"the server ended with {status}:\n{self.log()}"
        self.no_panic()

    def no_panic(self):
        text = self.whole_log()
        assert "panicked" not in text, text[max(0, text.index("panicked") - 2000):][:4000]

    def command(self, *arguments, check=True, input=None):
        """Runs a command of the program against this server."""
        return subprocess.run([PROGRAM, *arguments, "--data", str(self.data)], capture_output=True, text=True,
                              check=check, timeout=COMMAND_SECONDS_MAX, input=input)

    def join(self, token):
        """Joins a cluster before the first start."""
        return self.command("cluster", "join", token, "--config", str(self.config_file), check=False)


class Cluster:
    """Several nodes that look like one server: who asks for an address gets that of any node."""

    def __init__(self, folder, nodes=NODES, **options):
        self.folder = pathlib.Path(folder)
        self.options = options
        self.nodes = [self.make(number) for number in range(1, nodes + 1)]
        self.formed = False

    def make(self, number):
        folder = self.folder / f"node{number}"
        folder.mkdir()
        return Node(folder, number=number, **self.options)

    def start(self):
        if self.formed:
            # Together: one alone may have no majority.
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait_ready()
            return self.settle()
        first, *others = self.nodes
        first.start()
        token = first.command("cluster", "init").stdout.strip()
        for node in others:
            done = node.join(token or first.command("cluster", "token").stdout.strip())
            assert done.returncode == 0, (done.stderr, first.log())
            node.start()
            token = None
        self.formed = True
        return self.settle()

    def settle(self):
        """Waits until all groups have their leaders and replicas, and nothing more is about to be done."""
        end, before = time.monotonic() + SETTLE_SECONDS_MAX, None
        while True:
            report = self.status()
            names = [group["group"] for group in report["groups"]] if is_whole(report, len(self.nodes)) else None
            if names and names == before:
                return self
            assert time.monotonic() < end, f"the cluster is not whole in time: {report}\n{self.log()}"
            before = names
            time.sleep(LOOK_SECONDS)

    def status(self):
        """What a node that runs says of the cluster."""
        node = next(node for node in self.nodes if node.runs)
        return json.loads(node.command("cluster", "status", "--json").stdout)

    def any(self):
        """A node that runs."""
        return DICE.choice([node for node in self.nodes if node.runs])

    def address(self, name):
        return self.any().address(name)

    @property
    def data(self):
        return self.any().data

    @property
    def ready(self):
        return self.nodes[0].ready

    @property
    def accounts(self):
        return self.nodes[0].accounts

    @property
    def domain(self):
        return self.nodes[0].domain

    @property
    def ca(self):
        """Each node made a certificate of its own: all of them."""
        path = self.folder / "authorities.pem"
        if not path.exists():
            path.write_text("".join(pathlib.Path(node.ca).read_text() for node in self.nodes))
        return str(path)

    def tls(self):
        return ssl.create_default_context(cafile=self.ca)

    def log(self):
        return "\n".join(f"--- node {node.number}\n{node.log()}" for node in self.nodes)

    def kill(self):
        for node in self.nodes:
            node.kill()

    def stop(self):
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.stop()

    def command(self, *arguments, **options):
        return self.any().command(*arguments, **options)


def is_whole(report, nodes):
    """True if each group has a leader, and voters that lack nothing."""
    def good(group):
        voters = [member for member in group["members"] if member["votes"] and member["lag"] is not None]
        wanted = min(nodes, VOTERS_MAX if group["group"].startswith("shard-") else CONTROL_VOTERS_MAX)
        return group["leader"] is not None and len(voters) == len(group["members"]) == wanted

    return len(report["nodes"]) == nodes and all(node["reachable"] for node in report["nodes"]) \
        and all(good(group) for group in report["groups"])


def free_port(host):
    """A port that no connection of anybody's takes while the node is away."""
    while True:
        try:
            with socket.create_server((host, port := random.randrange(*MESH_PORTS))):
                return port
        except OSError:
            continue


Server = Cluster if NODES > 1 else Node
