"""A bare IMAP client: sends what it is told, and takes answers apart, literals included."""

import base64
import re
import socket

LITERAL_AT_END = re.compile(rb"~?\{(\d+)\}\r\n$")


class Talk:
    """One connection, by implicit TLS; logged in when an account is given."""

    def __init__(self, server, account=None, enable=(), timeout=30):
        plain = socket.create_connection(server.address("imaps"), timeout=timeout)
        self.socket = server.tls().wrap_socket(plain, server_hostname="localhost")
        self.file = self.socket.makefile("rb")
        self.number = 0
        self.greeting = self.response()
        if account is not None:
            login = base64.b64encode(f"\0{account['username']}\0{account['password']}".encode())
            self.ok(b"AUTHENTICATE PLAIN " + login)
        if enable:
            self.ok("ENABLE " + " ".join(enable))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def response(self):
        """One response with its literals; empty when the connection has ended."""
        whole = b""
        while True:
            line = self.file.readline()
            whole += line
            literal = LITERAL_AT_END.search(line)
            if not literal:
                return whole
            whole += self.file.read(int(literal.group(1)))

    def tag(self):
        self.number += 1
        return b"t%d" % self.number

    def start(self, command):
        """Sends a command without waiting for its answer; gives its tag."""
        tag = self.tag()
        self.send(tag + b" " + as_bytes(command) + b"\r\n")
        return tag

    def finish(self, tag):
        """What comes up to the end of a command: the untagged responses and the tagged one without its tag."""
        told = []
        while True:
            response = self.response()
            assert response, (tag, told)
            if response.startswith(tag + b" "):
                return told, response[len(tag) + 1:].rstrip(b"\r\n")
            told.append(response.rstrip(b"\r\n"))

    def command(self, command):
        return self.finish(self.start(command))

    def ok(self, command):
        told, end = self.command(command)
        assert end.startswith(b"OK"), (command, told, end)
        return told

    def no(self, command, code=b""):
        told, end = self.command(command)
        assert end.startswith(b"NO " + code), (command, told, end)
        return told

    def bad(self, command):
        told, end = self.command(command)
        assert end.startswith(b"BAD"), (command, told, end)
        return told

    def select(self, name, verb="SELECT", options=""):
        """Selects a mailbox; gives EXISTS and the response codes by name."""
        told, end = self.command(f'{verb} "{name}"{options}')
        assert end.startswith(b"OK"), (name, end)
        codes = {}
        for line in told + [b"* " + end]:
            code = re.match(rb"\* OK \[([A-Z-]+) ?(.*?)\] ", line)
            if code:
                codes[code.group(1).decode()] = code.group(2).decode()
        exists = [int(line.split()[1]) for line in told if line.endswith(b" EXISTS")]
        return exists[0], codes

    def append(self, name, message, flags="", date=""):
        """Appends; gives UIDVALIDITY and UID."""
        head = b'APPEND "%s"%s%s {%d+}\r\n' % (as_bytes(name), spaced(flags), spaced(date), len(message))
        told, end = self.command(head + message)
        code = re.match(rb"OK \[APPENDUID (\d+) (\d+)\]", end)
        assert code, (told, end)
        return int(code.group(1)), int(code.group(2))

    def fetch(self, numbers, items, uid=False):
        """The data of each message by its number: a list of items and values."""
        told = self.ok(f"{'UID ' if uid else ''}FETCH {numbers} {items}")
        return fetched(told)

    def values(self, numbers, item, uid=False):
        """One item of each message, in order."""
        found = self.fetch(numbers, f"({item})", uid)
        return [message[item] for _, message in sorted(found.items()) if item in message]

    def search(self, command):
        """The numbers of a SEARCH response."""
        (line,) = [line for line in self.ok(command) if line.startswith(b"* SEARCH")]
        return [int(word) for word in line.split()[2:]]


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def spaced(text):
    return b" " + as_bytes(text) if text else b""


class Atom(bytes):
    """A word that was not quoted."""


def tokens(line):
    """A response as nested lists of words."""
    at, stack = 0, [[]]
    while at < len(line):
        char = line[at:at + 1]
        if char == b"(":
            stack.append([])
            at += 1
        elif char == b")":
            inner = stack.pop()
            stack[-1].append(inner)
            at += 1
        elif char == b'"':
            text = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL).match(line, at)
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", text.group(1)))
            at = text.end()
        elif char in b" \r\n":
            at += 1
        elif literal := re.compile(rb"~?\{(\d+)\}\r\n").match(line, at):
            end = literal.end() + int(literal.group(1))
            stack[-1].append(line[literal.end():end])
            at = end
        else:
            word = re.compile(rb'[^ ()\r\n"\[{]+(\[[^\]]*\])?(<\d+>)?').match(line, at)
            stack[-1].append(Atom(word.group(0)))
            at = word.end()
    assert len(stack) == 1, line
    return stack[0]


def fetched(told):
    """FETCH responses by message number: each a dictionary of items."""
    messages = {}
    for line in told:
        if match := re.match(rb"\* (\d+) FETCH ", line):
            (items,) = tokens(line[match.end():])
            pairs = {items[at].decode(): items[at + 1] for at in range(0, len(items), 2)}
            messages.setdefault(int(match.group(1)), {}).update(pairs)
    return messages
