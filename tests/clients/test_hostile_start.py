"""Starting and stopping: addresses, ports, settings, the ready file, a folder in use, users, signals."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest

import mail
from conftest import IO, PROGRAM, Server, needs
from nodes import START_SECONDS_MAX
from hostile import CONFIG, DOORS, Wire, deliver, descriptors, dial, healthy, log_in, maildrop, serves

DEFAULT_PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "lmtp": 24, "imap": 143, "imaps": 993,
                 "pop3": 110, "pop3s": 995, "http": 80}
# A stop with sessions that go along ends by then; drain_timeout_seconds bounds the others.
STOP_SECONDS_MAX = 5
NOBODY = 65534


def listen(address):
    return "[listen]\n" + "\n".join(f'{name} = ["{address}"]' for name in DEFAULT_PORTS) + "\n"


def start(server, *more, wrapper=()):
    """Starts the program with further arguments; the process."""
    with open(server.log_file, "ab") as log:
        server.process = subprocess.Popen(
            [*wrapper, PROGRAM, "serve", "--data", str(server.data), "--ready-file", str(server.ready_file), *more],
            stdout=log, stderr=log)
    end = time.monotonic() + START_SECONDS_MAX
    while not server.ready_file.exists():
        assert server.process.poll() is None, server.log()
        assert time.monotonic() < end, server.log()
        time.sleep(0.02)
    server.ready = json.loads(server.ready_file.read_text())
    return server


def fails(*arguments, wrapper=()):
    """Runs a start that must fail; what it says."""
    done = subprocess.run([*wrapper, PROGRAM, "serve", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode not in (0, 101) and done.returncode > 0, done
    assert "panicked" not in done.stderr and "RUST_BACKTRACE" not in done.stderr
    return done.stderr


@pytest.fixture
def plain(tmp_path):
    """A server that the test starts in its own way, ended afterwards."""
    server = Server(tmp_path, accounts=2)
    yield server
    server.stop()


def free_offset():
    for _ in range(50):
        offset = random.randrange(20_000, 60_000)
        try:
            for port in DEFAULT_PORTS.values():
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", offset + port))
            return offset
        except OSError:
            continue
    pytest.skip("no free ports")


def test_ipv6_loopback(plain):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6")
    plain.config_file.write_text(listen("[::1]:0") + CONFIG)
    start(plain, "--config", str(plain.config_file), "--demo", "--demo-accounts", "2")
    assert all(re.fullmatch(r"\[::1\]:\d+", address) for address in plain.ready["listeners"].values())
    account = plain.accounts[1]
    for door in DOORS:
        if serves(plain, DOORS[door][0]):
            with dial(plain, door) as wire:
                assert wire.goes_on(DOORS[door][1])
    assert deliver(plain, account, b"Subject: six\r\n\r\n").startswith(b"250")
    assert maildrop(plain, account) == [b"Subject: six\r\n\r\n"]


def test_all_addresses_means_both_families(plain):
    plain.config_file.write_text('[listen]\nsmtp = ["*:0"]\n' + re.sub(r"smtp = .*\n", "", listen("127.0.0.1:0"))
                                 .removeprefix("[listen]\n"))
    start(plain, "--config", str(plain.config_file))
    _, port = plain.address("smtp")
    with Wire(("127.0.0.1", port)) as wire:
        assert wire.line().startswith(b"220")
    if socket.has_ipv6:
        try:
            six = Wire(("::1", port))
        except OSError:
            return
        with six:
            assert six.line().startswith(b"220")


def test_an_offset_moves_all_default_ports(plain):
    offset = free_offset()
    start(plain, "--demo", "--port-offset", str(offset))
    expected = {name: f"127.0.0.1:{port + offset}" for name, port in DEFAULT_PORTS.items() if serves(plain, name)}
    assert plain.ready["listeners"] == expected
    with dial(plain, "smtp+tls") as wire:
        assert wire.goes_on("smtp")


def test_an_offset_that_is_too_large_is_told(tmp_path):
    for offset in ("65000", "65535"):
        assert "port" in fails("--data", tmp_path / "data", "--demo", "--port-offset", offset)
    fails("--data", tmp_path / "data", "--demo", "--port-offset", "70000")


@pytest.mark.parametrize("text, said", [
    ("[smtp]\nmessage_max_byte = 1\n", "did you mean 'smtp.message_max_bytes'?"),
    ("[stmp]\n", "did you mean 'smtp'?"),
    ("[[tls.certificates]]\nchian = \"a\"\n", "did you mean 'tls.certificates.chain'?"),
    ("nonsense_here = 1\n", "nonsense_here"),
    ("[smtp]\nmessage_max_bytes = \"many\"\n", "message_max_bytes"),
    ("[smtp]\nmessage_max_bytes = -1\n", "message_max_bytes"),
    ("[smtp\n", "not valid TOML"),
    ("[listen]\nsmtp = [\"nowhere:25\"]\n", "no address to listen on"),
    ("[node]\nshards = 257\n", "node.shards"),
])
def test_wrong_settings_stop_the_start(tmp_path, text, said):
    config = tmp_path / "config.toml"
    config.write_text(text)
    assert said in fails("--data", tmp_path / "data", "--config", config)
    assert not (tmp_path / "data").exists(), "nothing is touched before the settings are right"


def test_missing_and_unusable_files_are_told(tmp_path):
    assert "none.toml" in fails("--data", tmp_path / "data", "--config", tmp_path / "none.toml")
    (tmp_path / "a file").write_text("")
    assert "a file" in fails("--data", tmp_path / "a file", "--demo", "--port-offset", "20000")


def test_a_port_in_use_is_told(tmp_path, plain):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        plain.config_file.write_text(listen("127.0.0.1:0").replace('pop3 = ["127.0.0.1:0"]',
                                                                   f'pop3 = ["127.0.0.1:{taken.getsockname()[1]}"]'))
        said = fails("--data", plain.data, "--config", plain.config_file)
        assert f"cannot listen on 127.0.0.1:{taken.getsockname()[1]}" in said and "in use" in said


def test_the_ready_file_says_all(plain):
    plain.config_file.write_text(listen("127.0.0.1:0") + CONFIG)
    arguments = ("--config", str(plain.config_file), "--demo", "--demo-accounts", "3")
    start(plain, *arguments)
    ready = plain.ready
    assert set(ready) == {"listeners", "admin", "demo", "ca", "io", "pid"}
    assert ready["pid"] == plain.process.pid and ready["io"] in (("uring",) if IO == "uring" else ("epoll", "uring"))
    assert set(ready["listeners"]) <= set(DEFAULT_PORTS) and set(ready["listeners"]) >= {"smtp", "lmtp", "pop3s", "http"}
    assert ready["admin"]["user"] == "admin" and len(ready["admin"]["password"]) >= 16
    assert ready["demo"]["domain"] == plain.domain and len(plain.accounts) == 3
    assert "BEGIN CERTIFICATE" in pathlib.Path(ready["ca"]).read_text()
    assert stat.S_IMODE(plain.ready_file.stat().st_mode) == 0o600, "passwords are in it"
    assert stat.S_IMODE(plain.data.stat().st_mode) == 0o700
    for listener in ready["listeners"]:
        socket.create_connection(plain.address(listener), timeout=5).close()
    for account in plain.accounts:
        assert set(account) >= {"username", "address", "password"}
        log_in(dial(plain, "pop3s"), "pop3", account).close()
    # What is there stays what it was at the next start; an old file is not taken for the new one.
    plain.stop()
    with open(plain.log_file, "ab") as log:
        plain.process = subprocess.Popen([PROGRAM, "serve", "--data", str(plain.data), "--ready-file",
                                          str(plain.ready_file), *arguments], stdout=log, stderr=log)
    mail.wait_for(lambda: plain.ready_file.exists()
                  and json.loads(plain.ready_file.read_text())["pid"] == plain.process.pid, "the second start")
    second = json.loads(plain.ready_file.read_text())
    assert second["demo"] == ready["demo"] and second["ca"] == ready["ca"]
    assert second["admin"]["user"] == "admin"


def test_a_server_without_a_demonstration(plain):
    plain.config_file.write_text(listen("127.0.0.1:0"))
    start(plain, "--config", str(plain.config_file))
    assert plain.ready["demo"] is None and plain.ready["admin"]["password"] in plain.log()
    with dial(plain, "smtp") as wire:
        assert wire.ask(b"MAIL FROM:<a@b.test>\r\n").startswith(b"250")
        assert wire.ask(b"RCPT TO:<a@demo.test>\r\n").startswith(b"550")


def test_a_folder_belongs_to_one_server(new_server):
    server = new_server(config=CONFIG, accounts=2)
    again = ["--data", server.data, "--config", server.config_file, "--ready-file", server.folder / "second.json"]
    for _ in range(2):
        said = fails(*again)
        assert str(server.data) in said and re.search(r"in use|another|already", said), said
    assert not (server.folder / "second.json").exists()
    assert server.ready_file.exists()
    assert deliver(server, server.accounts[1], b"Subject: unharmed\r\n\r\n").startswith(b"250")
    assert maildrop(server, server.accounts[1]) == [b"Subject: unharmed\r\n\r\n"]
    server.kill()
    # A killed one leaves no lock behind.
    server.start()
    assert maildrop(server, server.accounts[1]) == [b"Subject: unharmed\r\n\r\n"]


@needs("setpriv")
def test_anyone_may_run_it_on_high_ports():
    if os.getuid() != 0:
        pytest.skip("this is no root already; every other test shows it")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="estafette-"))
    server = None
    try:
        program = folder / "estafette"
        shutil.copy(shutil.which(PROGRAM), program)
        program.chmod(0o755)
        folder.chmod(0o755)
        os.chown(folder, NOBODY, NOBODY)
        wrapper = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--inh-caps=-all")
        server = Server(folder, accounts=2, config=CONFIG)
        with open(server.log_file, "ab") as log:
            server.process = subprocess.Popen(
                [*wrapper, program, "serve", "--data", server.data, "--config", server.config_file, "--demo",
                 "--ready-file", server.ready_file], stdout=log, stderr=log, cwd="/")
        mail.wait_for(lambda: server.ready_file.exists() or server.process.poll() is not None, "the start", 60)
        assert server.process.poll() is None, server.log()
        server.ready = json.loads(server.ready_file.read_text())
        assert f"Uid:\t{NOBODY}" in pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        assert deliver(server, server.accounts[1], b"Subject: nobody\r\n\r\n").startswith(b"250")
        assert maildrop(server, server.accounts[1]) == [b"Subject: nobody\r\n\r\n"]
        if int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) > 25:
            done = subprocess.run([*wrapper, program, "serve", "--data", folder / "low"], capture_output=True, text=True,
                                  timeout=60, cwd="/")
            assert done.returncode == 1 and "cannot listen on" in done.stderr and "ermission denied" in done.stderr
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


# --- the end ---

@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_open_sessions_are_told_of_the_end(new_server, how):
    server = new_server(config=CONFIG, accounts=4)
    wires = {door: dial(server, door) for door in DOORS if serves(server, DOORS[door][0])}
    expected = {"smtp": b"421 4.3.2", "lmtp": b"421 4.3.2", "pop3": b"-ERR [SYS/TEMP]", "imap": b"* BYE"}
    idle = None
    if serves(server, "imaps"):
        idle = log_in(dial(server, "imaps"), "imap", server.accounts[1])
        idle.send(b"s SELECT INBOX\r\nx IDLE\r\n")
        idle.tagged(b"s")
        assert idle.line().startswith(b"+")
    reader = log_in(dial(server, "pop3s"), "pop3", server.accounts[1])
    silent = socket.create_connection(server.address("pop3s"))
    began = time.monotonic()
    server.process.send_signal(how)
    for door, wire in wires.items():
        told = wire.rest()
        assert told.startswith(expected[DOORS[door][1]]), (door, told)
        wire.close()
    assert reader.rest().startswith(b"-ERR")
    if idle:
        assert idle.rest().startswith(b"* BYE")
    for wire in (reader, idle):
        if wire:
            wire.close()
    silent.close()
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < STOP_SECONDS_MAX
    healthy_log = server.log_file.read_text()
    assert "panicked" not in healthy_log


def test_a_message_on_its_way_is_taken_before_the_end(new_server):
    server = new_server(config=CONFIG, accounts=3)
    account = server.accounts[1]
    text = b"Subject: last\r\n\r\n" + b"a line of it\r\n" * 1000
    wires = [dial(server, door) for door in ("smtp", "smtp+tls", "lmtp", "lmtp+tls")]
    for wire in wires:
        wire.send(f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{account['address']}>\r\nDATA\r\n".encode())
        assert [wire.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        wire.send(text[:500])
    server.process.terminate()
    time.sleep(0.5)
    assert not lets_in(server), "nobody new is let in"
    for wire in wires:
        wire.send(text[500:] + b".\r\n")
        answer = wire.rest()
        assert answer.startswith(b"250 2.") and b"421 4.3.2" in answer, answer
        wire.close()
    assert server.process.wait(20) == 0
    server.start()
    assert maildrop(server, account) == [text] * len(wires)


def lets_in(server):
    try:
        with Wire(server.address("smtp"), timeout=2) as wire:
            return wire.line() != b""
    except OSError:
        return False


def test_those_who_do_not_go_are_cut_off_at_the_end(new_server):
    """Neither a message that stops coming nor a client that does not read holds up the end for long."""
    server = new_server(config=CONFIG.replace("drain_timeout_seconds = 5", "drain_timeout_seconds = 2"), accounts=3)
    account = server.accounts[1]
    assert deliver(server, account, b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 300_000).startswith(b"250")
    stuck = dial(server, "smtp")
    stuck.send(f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{account['address']}>\r\nDATA\r\nhalf".encode())
    deaf = log_in(dial(server, "pop3s"), "pop3", account)
    deaf.send(b"RETR 1\r\n" * 100)
    handshaking = socket.create_connection(server.address("submissions"))
    began = time.monotonic()
    server.process.terminate()
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < 2 + STOP_SECONDS_MAX
    for wire in (stuck, deaf, handshaking):
        wire.close()
    server.start()
    assert len(maildrop(server, account)) == 1


def test_an_end_right_after_the_start(new_server):
    """From the moment that the ready file is there, a signal means a graceful end."""
    server = new_server(config=CONFIG, accounts=1)
    for _ in range(5):
        server.stop()
        server.start()


def test_descriptors_run_out(tmp_path):
    """More connections than the system allows: the store keeps what it needs to go on writing, and places come back."""
    server = Server(tmp_path, accounts=3, config=CONFIG, wrapper=("prlimit", "--nofile=300:300")).start()
    try:
        account = server.accounts[1]
        assert deliver(server, account, b"Subject: before\r\n\r\n").startswith(b"250")
        inside = dial(server, "lmtp", timeout=30)
        wires = []
        for _ in range(600):
            wire = socket.socket()
            wire.settimeout(2)
            try:
                wire.connect(server.address("pop3"))
                wires.append(wire)
            except OSError:
                wire.close()
        assert len(wires) > 300
        # Who is in is served on, for so long that the store needs new files.
        text = b"".join(random.Random(1).randbytes(48).hex().encode() + b"\r\n" for _ in range(40_000))
        for turn in range(40):
            if turn % 5 == 0:
                # Their time to log in would be over before long.
                refresh(wires, server.address("pop3"))
            inside.send(f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{account['address']}>\r\nDATA\r\n".encode())
            assert [inside.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
            inside.send(b"Subject: %d\r\n\r\n" % turn + text + b".\r\n")
            assert inside.reply().startswith(b"250"), turn
        for wire in wires:
            wire.close()
        mail.wait_for(lambda: descriptors(server) < 150, "free descriptors")
        assert deliver(server, account, b"Subject: after\r\n\r\n").startswith(b"250")
        with log_in(dial(server, "pop3s"), "pop3", account) as reader:
            assert reader.ask(b"STAT\r\n").startswith(b"+OK 42 ")
        healthy(server)
    finally:
        server.stop()


def refresh(wires, address):
    """The same number of connections, made anew."""
    for wire in wires:
        wire.close()
    for place in range(len(wires)):
        wires[place] = socket.socket()
        wires[place].settimeout(2)
        try:
            wires[place].connect(address)
        except OSError:
            pass


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="takes a privilege away")
def test_a_limit_of_locked_memory_that_is_too_low_for_the_rings_of_all_threads(plain):
    """Where the first thread gets a ring and the next does not, all work by epoll; the program does not end over it."""
    plain.config_file.write_text(plain.config_file.read_text() + "\n[node]\nthreads = 8\n")
    ways = []
    for kib in range(256, 2560, 256):
        limit = f"--memlock={kib * 1024}:{kib * 1024}"
        privilege = ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "--no-new-privs"]
        start(plain, "--config", str(plain.config_file), wrapper=[*privilege, "prlimit", limit])
        ways.append(plain.ready["io"])
        plain.stop()
        plain.ready_file.unlink(missing_ok=True)
    assert set(ways) <= {"epoll", "uring"}, ways
    if IO == "uring":
        assert "not every thread gets a ring" in plain.log(), ways
