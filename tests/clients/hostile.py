"""What the hostile tests share: doors of a server, a raw connection, a good client beside it all, and its bounds."""

import base64
import contextlib
import pathlib
import poplib
import re
import smtplib
import socket
import ssl
import threading
import time
import traceback

import mail

# A client that behaves waits at most this long for any of its turns while others misbehave.
LATENCY_SECONDS_MAX = 5
# No answer may take longer than this.
ANSWER_SECONDS_MAX = 15
# Limits of the server under test, small so that waiting for them is quick.
COMMAND_SECONDS = 3
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
HEADER_BYTES_MAX = 256 * 1024
# What SMTP reads beyond its limit before it hangs up.
SWALLOW_BYTES = 16 * 1024 * 1024
CONFIG = f"""
[sessions]
handshake_timeout_seconds = {COMMAND_SECONDS}
write_timeout_seconds = {COMMAND_SECONDS}
drain_timeout_seconds = 5
[smtp]
message_max_bytes = {MESSAGE_BYTES_MAX}
header_max_bytes = {HEADER_BYTES_MAX}
command_timeout_seconds = {COMMAND_SECONDS}
data_timeout_seconds = {COMMAND_SECONDS}
[imap]
append_max_bytes = {MESSAGE_BYTES_MAX}
login_timeout_seconds = {COMMAND_SECONDS}
[pop3]
login_timeout_seconds = {COMMAND_SECONDS}
idle_timeout_seconds = {2 * COMMAND_SECONDS}
[storage]
cache_bytes = 16777216
[login]
failure_delay_ms = 1
failure_delay_max_ms = 1
failures_per_address = 1000000
argon2_memory_kib = 64
argon2_passes = 1
"""

# Each way in: its name, the listener, the protocol, and how TLS comes up (None, "start" or "implicit").
DOORS = {
    "smtp": ("smtp", "smtp", None),
    "smtp+tls": ("smtp", "smtp", "start"),
    "submission": ("submission", "smtp", None),
    "submission+tls": ("submission", "smtp", "start"),
    "submissions": ("submissions", "smtp", "implicit"),
    "lmtp": ("lmtp", "lmtp", None),
    "lmtp+tls": ("lmtp", "lmtp", "start"),
    "pop3": ("pop3", "pop3", None),
    "pop3+tls": ("pop3", "pop3", "start"),
    "pop3s": ("pop3s", "pop3", "implicit"),
    "imap": ("imap", "imap", None),
    "imap+tls": ("imap", "imap", "start"),
    "imaps": ("imaps", "imap", "implicit"),
}
LISTENERS = ("smtp", "submission", "submissions", "lmtp", "pop3", "pop3s", "imap", "imaps")
# The command that begins TLS, and a harmless one with the start of its answer.
START_TLS = {"smtp": b"STARTTLS\r\n", "lmtp": b"STARTTLS\r\n", "pop3": b"STLS\r\n", "imap": b"t STARTTLS\r\n"}
HARMLESS = {"smtp": (b"NOOP\r\n", b"250"), "lmtp": (b"NOOP\r\n", b"250"), "pop3": (b"CAPA\r\n", b"+OK"),
            "imap": (b"n NOOP\r\n", b"n OK")}
GREETING = {"smtp": b"220", "lmtp": b"220", "pop3": b"+OK", "imap": b"* OK"}


def protocol_of(door):
    return DOORS[door][1]


class Wire:
    """A connection that says what it is told to, under TLS if wanted, and keeps what comes back."""

    def __init__(self, address, timeout=ANSWER_SECONDS_MAX, source=None):
        source = (source, 0) if source else None
        self.socket = socket.create_connection(address, timeout=timeout, source_address=source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = None
        self.plain = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Drops the connection with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def start_tls(self, context, name="localhost"):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._push()
                received = self.socket.recv(65536)
                if not received:
                    raise ConnectionError("the connection ended within the handshake")
                self.incoming.write(received)
        self._push()
        return self

    def _push(self):
        if self.outgoing.pending:
            self.socket.sendall(self.outgoing.read())

    def send(self, data):
        """Sends; False when the other side has hung up."""
        try:
            if self.tls is None:
                self.socket.sendall(data)
            else:
                for start in range(0, len(data), 65536):
                    self.tls.write(data[start:start + 65536])
                    self._push()
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def end_sending(self):
        """Closes our direction only."""
        if self.tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self.tls.unwrap()
            with contextlib.suppress(OSError):
                self._push()
        with contextlib.suppress(OSError):
            # The other side may have hung up already.
            self.socket.shutdown(socket.SHUT_WR)

    def _fill(self):
        try:
            received = self.socket.recv(65536)
        except ConnectionResetError:
            received = b""
        if self.tls is None:
            self.plain += received
            self.ended |= not received
            return
        if received:
            self.incoming.write(received)
        else:
            self.incoming.write_eof()
        try:
            while part := self.tls.read(65536):
                self.plain += part
            self.ended = True
        except ssl.SSLWantReadError:
            self.ended |= not received
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self.ended = True

    def line(self):
        """The next line; what there is when the connection has ended."""
        while b"\n" not in self.plain and not self.ended:
            self._fill()
        line, end, self.plain = self.plain.partition(b"\n")
        return line + end

    def reply(self):
        """A whole SMTP reply, POP3 status line or IMAP line."""
        line = self.line()
        while re.match(rb"\d{3}-", line):
            line = self.line()
        return line

    def tagged(self, tag):
        """IMAP: reads up to the answer with this tag, or a BYE."""
        while not (line := self.line()).startswith((tag + b" ", b"* BYE")) and line:
            pass
        return line

    def ask(self, command):
        self.send(command)
        return self.reply()

    def rest(self):
        """All that comes until the connection ends."""
        while not self.ended:
            self._fill()
        rest, self.plain = self.plain, b""
        return rest

    def goes_on(self, protocol):
        """True when the session still answers."""
        command, answer = HARMLESS[protocol]
        if not self.send(command):
            return False
        got = self.tagged(b"n") if protocol == "imap" else self.reply()
        if protocol == "pop3":
            while got.startswith(b"+OK") and self.line() not in (b".\r\n", b""):
                pass
        return got.startswith(answer)


def dial(server, door, greet=True, timeout=ANSWER_SECONDS_MAX, source=None):
    """A connection through a door, greeted, with TLS when the door has it."""
    listener, protocol, tls = DOORS[door]
    wire = Wire(server.address(listener), timeout, source)
    if tls == "implicit":
        wire.start_tls(server.tls())
    assert wire.line().startswith(GREETING[protocol])
    hello = {"smtp": b"EHLO client.test\r\n", "lmtp": b"LHLO client.test\r\n"}.get(protocol)
    if tls == "start":
        if hello:
            assert wire.ask(hello).startswith(b"250")
        assert wire.ask(START_TLS[protocol]).startswith((b"220", b"+OK", b"t OK"))
        wire.start_tls(server.tls())
    if greet and hello:
        assert wire.ask(hello).startswith(b"250")
    return wire


def try_login(wire, protocol, name, password):
    """Tries a name and a password by SASL PLAIN; the answer."""
    token = base64.b64encode(b"\0" + name.encode() + b"\0" + password.encode())
    if protocol == "imap":
        wire.send(b"l AUTHENTICATE PLAIN " + token + b"\r\n")
        return wire.tagged(b"l")
    return wire.ask(b"AUTH PLAIN " + token + b"\r\n")


def log_in(wire, protocol, account):
    """Logs in; the connection has TLS."""
    answer = try_login(wire, protocol, account["username"], account["password"])
    assert answer.startswith((b"235", b"+OK", b"l OK")), answer
    return wire


def serves(server, listener):
    return listener in server.ready["listeners"]


def memory(server):
    """Resident bytes of the server; of several nodes, the mean."""
    def of(node):
        status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    return sum(map(of, server.nodes)) // len(server.nodes)


def descriptors(server):
    return sum(len(list(pathlib.Path(f"/proc/{node.process.pid}/fd").iterdir())) for node in server.nodes)


def healthy(server):
    """The server runs and nothing in it has panicked."""
    for node in server.nodes:
        assert node.runs, node.log()
        node.no_panic()


def deliver(server, account, message):
    """Puts a message into a mailbox by LMTP; the reply to it."""
    with dial(server, "lmtp") as wire:
        assert wire.ask(b"MAIL FROM:<a@elsewhere.test>\r\n").startswith(b"250")
        assert wire.ask(f"RCPT TO:<{account['address']}>\r\n".encode()).startswith(b"250")
        assert wire.ask(b"DATA\r\n").startswith(b"354")
        wire.send(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
        return wire.reply()


def maildrop(server, account, remove=False):
    """All messages of an account by POP3, without what delivery added."""
    client = mail.pop3(server, account)
    poplib._MAXLINE = 4 * MESSAGE_BYTES_MAX
    found = []
    for number in range(1, client.stat()[0] + 1):
        found.append(mail.without_added(b"".join(line + b"\r\n" for line in client.retr(number)[1])))
        if remove:
            client.dele(number)
    client.quit()
    return found


class GoodClient:
    """Delivers and reads all the time, and keeps how long each turn took."""

    PAUSE_SECONDS = 0.1

    def __init__(self, server, account):
        self.server, self.account = server, account
        self.slowest = 0
        self.turns = 0
        self.fault = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(60)

    def check(self):
        """What must be true at any moment."""
        assert self.fault is None, self.fault
        assert self.slowest < LATENCY_SECONDS_MAX, f"a good client waited {self.slowest:.1f} s"

    def run(self):
        try:
            while not self.stopping.wait(self.PAUSE_SECONDS):
                began = time.monotonic()
                self.turn()
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.turns += 1
        except Exception:
            self.fault = f"turn {self.turns}: {traceback.format_exc()}"

    def turn(self):
        texts = [f"Subject: turn {self.turns} {way}\r\n\r\ntext\r\n".encode() for way in ("smtp", "lmtp")]
        with smtplib.SMTP(*self.server.address("smtp"), timeout=30) as client:
            client.sendmail("good@elsewhere.test", [self.account["address"]], texts[0])
        with smtplib.LMTP(*self.server.address("lmtp")) as client:
            client.sendmail("good@elsewhere.test", [self.account["address"]], texts[1])
        assert maildrop(self.server, self.account, remove=True) == texts
