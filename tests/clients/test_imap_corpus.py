"""Real and difficult mail by IMAP: equal to the bit, and shown as Dovecot shows it."""

import concurrent.futures
import os
import pathlib
import poplib
import re
import subprocess
import tempfile

import pytest

import mail
from conftest import Server, needs
from corpus import crlf, on_the_wire, spam_assassin  # noqa: F401 (a fixture)
from imap_talk import Talk, fetched

# Reads a mailbox without a login, from standard input to standard output.
DOVECOT = "/usr/lib/dovecot/imap"
# Sessions that work side by side.
PARTS = 8
ITEMS = ["ENVELOPE", "BODYSTRUCTURE", "BODY[HEADER.FIELDS (FROM SUBJECT RECEIVED)]",
         "BODY[HEADER.FIELDS.NOT (FROM SUBJECT RECEIVED)]"]
WANTED = f"({' '.join(item.replace('BODY[', 'BODY.PEEK[') for item in ITEMS)})"
# How many APPENDs are sent before their answers are read.
WINDOW = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of these tests' own: each takes many accounts."""
    node = Server(tmp_path_factory.mktemp("corpus"), accounts=5 * PARTS).start()
    yield node
    node.stop()


def accounts_for_parts(server):
    """Accounts that no other test uses."""
    server.given = getattr(server, "given", 0) + PARTS
    return server.accounts[server.given - PARTS:server.given]


def in_parts(server, messages, work):
    """Deals the messages out to accounts, works on all at once, and gives the results in the messages' order."""
    def one(part):
        return work(accounts[part], messages[part::PARTS])

    accounts = accounts_for_parts(server)
    with concurrent.futures.ThreadPoolExecutor(PARTS) as pool:
        results = list(pool.map(one, range(PARTS)))
    ordered = [None] * len(messages)
    for part, result in enumerate(results):
        ordered[part::PARTS] = result
    return ordered


def append_all(talk, messages, name="INBOX"):
    """Appends, pipelined."""
    waiting = []
    for message in messages:
        head = b"APPEND %s {%d+}\r\n" % (name.encode(), len(message))
        waiting.append(talk.start(head + message))
        if len(waiting) == WINDOW:
            take_appended(talk, waiting)
    take_appended(talk, waiting)


def take_appended(talk, waiting):
    for tag in waiting:
        _, end = talk.finish(tag)
        assert end.startswith(b"OK [APPENDUID"), end
    waiting.clear()


def shown(talk, count):
    """What is shown of the first messages of the selected mailbox."""
    messages = fetched(talk.ok(f"FETCH 1:{count} {WANTED}"))
    return [[messages[number][item] for item in ITEMS] for number in range(1, count + 1)]


def by_estafette(server, messages):
    def work(account, part):
        with Talk(server, account, timeout=120) as talk:
            append_all(talk, part)
            talk.select("INBOX")
            return shown(talk, len(part))

    return in_parts(server, messages, work)


def dovecot_settings(folder):
    owner = "65534" if os.geteuid() == 0 else str(os.geteuid())
    version = subprocess.run(["/usr/sbin/dovecot", "--version"], capture_output=True, text=True, check=True).stdout
    if version.startswith("2.3"):
        store = f"mail_location = maildir:{folder}/Maildir"
    else:
        number = re.match(r"[\d.]+", version).group(0)
        store = (f"dovecot_config_version = {number}\ndovecot_storage_version = {number}\n"
                 f"mail_driver = maildir\nmail_path = {folder}/Maildir")
    # The version stands first in its file.
    return f"""{store}
base_dir = {folder}/run
log_path = {folder}/log
ssl = no
mail_uid = {owner}
mail_gid = {owner}
first_valid_uid = 0
first_valid_gid = 0
"""


def by_dovecot(folder, messages):
    """The same of Dovecot, which reads a Maildir and speaks on its standard input and output."""
    for name in ("cur", "new", "tmp"):
        (folder / "Maildir" / name).mkdir(parents=True)
    for number, message in enumerate(messages):
        (folder / "Maildir" / "cur" / f"{1000000000 + number}.M{number}.here:2,S").write_bytes(message)
    config = folder / "dovecot.conf"
    config.write_text(dovecot_settings(folder))
    if os.geteuid() == 0:
        # It gives up being root.
        subprocess.run(["chown", "-R", "65534:65534", folder], check=True)
    # Its input stays open: it ends when that does, and not before it has been asked to.
    with open(folder / "said", "w+b") as errors, subprocess.Popen(
            [DOVECOT, "-c", config], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            env={"USER": "tester", "HOME": str(folder), "PATH": "/usr/bin:/bin"}) as dovecot:
        dovecot.stdin.write(f"a SELECT INBOX\r\nb FETCH 1:* {WANTED}\r\nc LOGOUT\r\n".encode())
        dovecot.stdin.flush()
        output = dovecot.stdout.read()
        errors.seek(0)
        said = errors.read()
    found = fetched(responses(output))
    assert len(found) == len(messages), (len(found), output[-500:], said)
    return [[found[number + 1][item] for item in ITEMS] for number in range(len(messages))]


def responses(output):
    """Splits what a server said into responses."""
    at, found = 0, []
    while at < len(output):
        start = at
        while True:
            end = output.index(b"\n", at) + 1
            literal = re.search(rb"\{(\d+)\}\r\n$", output[at:end])
            at = end
            if not literal:
                break
            at += int(literal.group(1))
        found.append(output[start:at].rstrip(b"\r\n"))
    return found


def first_difference(ours, theirs, path=""):
    if isinstance(ours, list) and isinstance(theirs, list):
        for number, (one, other) in enumerate(zip(ours, theirs)):
            if difference := first_difference(one, other, f"{path}.{number}"):
                return difference
        return None if len(ours) == len(theirs) else (path, ours, theirs)
    return None if ours == theirs else (path, ours, theirs)


def differences(server, messages):
    """What is shown differently: name, item, place, ours and theirs."""
    names, bodies = zip(*messages)
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(1) as pool:
        os.chmod(folder, 0o755)
        theirs = pool.submit(by_dovecot, pathlib.Path(folder), bodies)
        ours = by_estafette(server, list(bodies))
        theirs = theirs.result()
    found = []
    for name, one, other in zip(names, ours, theirs):
        for item, mine, its in zip(ITEMS, one, other):
            if difference := first_difference(mine, its):
                found.append((name, item, *difference))
    return found


# What may differ from Dovecot, by message. Dovecot keeps the tab before an identifier; shows an empty media type, or
# an empty part, where Content-Type or a parameter cannot be read; and counts the line end before a boundary that cuts
# a header to the part.
ACCEPTED = {
    "easy-ham-1/01685.26beacaa0fa03cb6199c57b8a99a2852.txt": "ENVELOPE",
    "spam-2/00204.4cf15f97b8ea08bfafab7d5091b8fbe7.txt": "BODYSTRUCTURE",
    "msg_14.txt": "BODYSTRUCTURE",
    "testdata__mail__mime-bad-content-type.raw": "BODYSTRUCTURE",
    "testdata__mail__mime-blank-media-name.raw": "BODYSTRUCTURE",
    "testdata__parts__barren-content-type.raw": "BODYSTRUCTURE",
    "testdata__parts__ctype-invalid-characters.raw": "BODYSTRUCTURE",
    "testdata__parts__empty-ctype-bad-content.raw": "BODYSTRUCTURE",
    "core__src__test__resources__mimetools-testmsgs__double-semicolon.msg": "BODYSTRUCTURE",
    "core__src__test__resources__mimetools-testmsgs__multi-digest.msg": "BODYSTRUCTURE",
    "UnitTests__TestData__mbox__content-length-summary.txt": "BODYSTRUCTURE",
    "UnitTests__TestData__mbox__content-length.mbox.txt": "BODYSTRUCTURE",
    "UnitTests__TestData__mbox__issue1189-summary.txt": "BODYSTRUCTURE",
    "UnitTests__TestData__mbox__jwz-summary.txt": "BODYSTRUCTURE",
    "UnitTests__TestData__messages__missing-subtype.txt": "BODYSTRUCTURE",
    "resources__eml__malformed__017.eml": "BODYSTRUCTURE",
    "resources__eml__malformed__022.eml": "BODYSTRUCTURE",
    "resources__eml__rfc__008.eml": "BODYSTRUCTURE",
    "resources__eml__thirdparty__015.eml": "BODYSTRUCTURE",
}


def unexpected(found):
    return [one for one in found if ACCEPTED.get(one[0]) != one[1]]


def storable(paths):
    """Difficult mail as it can be appended: there is no NUL in a message (RFC 9051 §9 CHAR8)."""
    messages = [(path.name, crlf(path.read_bytes())) for path in paths]
    return [(name, message) for name, message in messages if message and b"\0" not in message]


@needs(DOVECOT)
def test_the_corpus_is_shown_as_dovecot_shows_it(server, spam_assassin):  # noqa: F811
    found = differences(server, [(name, crlf(message)) for name, message in spam_assassin])
    assert unexpected(found) == []


@needs(DOVECOT)
def test_difficult_mail_is_shown_as_dovecot_shows_it(server, difficult_mail):
    assert unexpected(differences(server, storable(difficult_mail))) == []


def whole_messages(talk, count):
    told = fetched(talk.ok(f"FETCH 1:{count} (RFC822.SIZE BODY.PEEK[])"))
    messages = [told[number] for number in range(1, count + 1)]
    assert all(int(message["RFC822.SIZE"]) == len(message["BODY[]"]) for message in messages)
    return [message["BODY[]"] for message in messages]


def by_pop3(server, account):
    # Lines of real mail are longer than this library likes.
    poplib._MAXLINE = 1024 * 1024
    client = mail.pop3(server, account)
    count, _ = client.stat()
    messages = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, count + 1)]
    client.quit()
    return messages


def came_in(got, message):
    """True when only fields of delivery stand before the message."""
    return got.endswith(message) and mail.without_added(got[:len(got) - len(message)]) == b""


def test_the_corpus_comes_back_as_it_was_delivered(server, spam_assassin):  # noqa: F811
    messages = [message for _, body in spam_assassin if (message := on_the_wire(body)) is not None]
    assert len(messages) > 6000

    def work(account, part):
        with mail.lmtp(server) as client:
            for message in part:
                client.sendmail("a@elsewhere.test", [account["address"]], message)
        with Talk(server, account, timeout=120) as talk:
            talk.select("INBOX")
            by_imap = whole_messages(talk, len(part))
        assert by_pop3(server, account) == by_imap
        return by_imap

    found = in_parts(server, messages, work)
    assert [n for n, (got, message) in enumerate(zip(found, messages)) if not came_in(got, message)] == []


def test_mail_comes_back_as_it_was_appended(server, spam_assassin, difficult_mail):  # noqa: F811
    """To the bit, bare CR and LF and missing line ends too."""
    messages = [message for _, message in spam_assassin[::7]]
    messages += [message for path in difficult_mail for message in (path.read_bytes(), crlf(path.read_bytes()))]
    messages = [message for message in messages if message and b"\0" not in message]

    def work(account, part):
        with Talk(server, account, timeout=120) as talk:
            append_all(talk, part)
            talk.select("INBOX")
            return whole_messages(talk, len(part))

    assert in_parts(server, messages, work) == messages
