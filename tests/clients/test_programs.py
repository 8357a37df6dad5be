"""Mail programs that people use: swaks, curl, mbsync, neomutt, getmail, fetchmail."""

import os
import pathlib
import subprocess

import mail
from conftest import needs

TEXT = b"From: <a@elsewhere.test>\nTo: <b@demo.test>\nSubject: by a program\n\nOne line\n.a dot\n"


def run(*command, cwd=None, input=None, environment=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, cwd=cwd, input=input, timeout=120,
                          env=os.environ | (environment or {}))
    assert done.returncode == 0, (command, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    return done.stdout


def server_at(address):
    return f"{address[0]}:{address[1]}"


@needs("swaks")
def test_swaks_on_every_port(server, account):
    login = ["--auth-user", account["username"], "--auth-password", account["password"]]
    own = ["--from", account["address"]]
    ways = [
        ("smtp", ["--from", "a@elsewhere.test"]),
        ("smtp", ["--from", "a@elsewhere.test", "--tls"]),
        ("lmtp", ["--from", "a@elsewhere.test", "--protocol", "LMTP"]),
        ("submission", [*own, "--tls", "--auth", "PLAIN", *login]),
        ("submission", [*own, "--tls", "--auth", "LOGIN", *login]),
        ("submissions", [*own, "--tls-on-connect", "--auth", "PLAIN", *login]),
    ]
    for number, (listener, options) in enumerate(ways):
        run("swaks", "--server", server_at(server.address(listener)), "--to", account["address"],
            "--header", f"Subject: way {number}", "--silent", "1", *options)
    found = b"".join(mail.bodies(mail.imap(server, account)))
    for number in range(len(ways)):
        assert f"Subject: way {number}\r\n".encode() in found


@needs("swaks")
def test_swaks_is_told_of_bad_recipients_and_passwords(server, account):
    def code(*options):
        return subprocess.run(["swaks", "--silent", "2", *options], capture_output=True, timeout=60).returncode

    smtp = ["--server", server_at(server.address("smtp")), "--from", "a@elsewhere.test"]
    assert code(*smtp, "--to", f"not-there@{server.domain}") == 24
    submission = ["--server", server_at(server.address("submission")), "--tls", "--auth", "PLAIN",
                  "--auth-user", account["username"], "--auth-password", "wrong",
                  "--from", account["address"], "--to", account["address"]]
    assert code(*submission) == 28


@needs("curl")
def test_curl_sends_and_reads(server, account, tmp_path):
    text = tmp_path / "message"
    # With all that a submission server would add.
    whole = b"Date: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <1@elsewhere.test>\n" + TEXT
    text.write_bytes(whole.replace(b"\n", b"\r\n"))
    user = ["--user", f"{account['username']}:{account['password']}", "--cacert", server.ca, "--silent", "--show-error"]
    sender = ["--mail-from", account["address"], "--mail-rcpt", account["address"], "--upload-file", text]
    run("curl", f"smtp://{server_at(server.address('submission'))}", "--ssl-reqd", *user, *sender)
    run("curl", f"smtps://{server_at(server.address('submissions'))}", *user, *sender)
    for listener, scheme, more in (("imap", "imap", ["--ssl-reqd"]), ("imaps", "imaps", [])):
        url = f"{scheme}://{server_at(server.address(listener))}"
        got = run("curl", f"{url}/INBOX;MAILINDEX=1", *more, *user)
        assert mail.without_added(got) == text.read_bytes()
        assert b"INBOX" in run("curl", f"{url}/", *more, *user)
        run("curl", f"{url}/INBOX", "--request", "STORE 1 +FLAGS \\Flagged", *more, *user)
        assert b"SEARCH 1" in run("curl", f"{url}/INBOX", "--request", "SEARCH FLAGGED", *more, *user)
    for listener, scheme, more in (("pop3", "pop3", ["--ssl-reqd"]), ("pop3s", "pop3s", [])):
        got = run("curl", f"{scheme}://{server_at(server.address(listener))}/2", *more, *user)
        assert mail.without_added(got) == text.read_bytes()


MBSYNC = """
IMAPAccount estafette
Host {host}
Port {port}
User {user}
Pass {password}
{tls} IMAPS
CertificateFile {ca}

IMAPStore far
Account estafette

MaildirStore near
Path {folder}/
Inbox {folder}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
"""


@needs("mbsync")
def test_mbsync_both_ways_with_flags_and_strange_names(server, account, tmp_path):
    client = mail.imap(server, account)
    names = ["A folder with spaces", "slashes/inside/here", "Entw&APw-rfe", "&ZeVnLIqe-"]
    for name in names:
        client.create(f'"{name}"')
        client.append(f'"{name}"', r"(\Seen \Flagged)", None, TEXT.replace(b"\n", b"\r\n"))
    client.append("INBOX", r"(\Answered)", None, TEXT.replace(b"\n", b"\r\n"))
    host, port = server.address("imaps")
    folder = tmp_path / "mail"
    folder.mkdir()
    config = tmp_path / "mbsyncrc"

    def sync():
        for word in ("TLSType", "SSLType"):
            config.write_text(MBSYNC.format(host="localhost", port=port, user=account["username"], password=account["password"],
                                            ca=server.ca, folder=folder, tls=word))
            done = subprocess.run(["mbsync", "-c", config, "-a"], capture_output=True, text=True, timeout=120)
            if f"'{word}' is not recognized" not in done.stderr:
                break
        assert done.returncode == 0, done.stderr

    sync()
    inbox = [path for part in ("new", "cur") for path in (folder / "INBOX" / part).iterdir()]
    assert len(inbox) == 1 and inbox[0].name.endswith(":2,R")
    assert inbox[0].read_bytes().replace(b"\r\n", b"\n").startswith(TEXT.splitlines(True)[0])
    spaced = list((folder / "A folder with spaces" / "cur").iterdir())
    assert len(spaced) == 1 and spaced[0].name.endswith(":2,FS")
    assert (folder / "slashes" / "inside" / "here" / "cur").is_dir()
    # Flags and messages the other way.
    spaced[0].rename(spaced[0].with_name(spaced[0].name.replace(":2,FS", ":2,S")))
    (folder / "INBOX" / "new" / "made.by.hand").write_bytes(b"Subject: from the other side\n\nhello\n")
    sync()
    client.select('"A folder with spaces"')
    flags = client.fetch("1", "(FLAGS)")[1][0]
    assert b"\\Seen" in flags and b"\\Flagged" not in flags
    assert any(b"from the other side" in body for body in mail.bodies(client))
    # And removal.
    for path in [path for part in ("new", "cur") for path in (folder / "INBOX" / part).iterdir()]:
        if ":2," in path.name and b"by a program" in path.read_bytes():
            path.rename(path.with_name(path.name + "T"))
    sync()
    assert not any(b"by a program" in body for body in mail.bodies(client))


@needs("neomutt", "script")
def test_neomutt_in_batch(server, account, tmp_path):
    host, port = server.address("imaps")
    smtp_host, smtp_port = server.address("submissions")
    config = tmp_path / "muttrc"
    config.write_text(f"""
set folder = "imaps://{account['username']}@{host}:{port}"
set imap_pass = "{account['password']}"
set smtp_url = "smtps://{account['username']}@{smtp_host}:{smtp_port}"
set smtp_pass = "{account['password']}"
set smtp_authenticators = "plain"
set from = "{account['address']}"
set realname = "A tester"
set certificate_file = "{server.ca}"
set ssl_verify_host = no
set ssl_force_tls = yes
set copy = no
set confirmappend = no
set mark_old = no
set header_cache = ""
set message_cachedir = ""
""")
    environment = {"HOME": str(tmp_path), "TERM": "dumb"}
    run("neomutt", "-n", "-F", config, "-s", "from neomutt", "-a", config, "--", account["address"], input=b"hello there\n",
        environment=environment)
    client = mail.imap(server, account)
    (inbox,) = mail.bodies(client)
    assert b"Subject: from neomutt" in inbox and b"hello there" in inbox
    # Reading, copying and flagging, with keys pressed by the settings.
    keys = "<flag-message><copy-message>=Sent<enter><sync-mailbox><quit>"
    run("script", "-q", "-e", "-c", f"neomutt -n -F {config} -f =INBOX -e 'push \"{keys}\"'", "/dev/null",
        environment=environment | {"TERM": "xterm"})
    (sent,) = mail.bodies(client, "Sent")
    assert b"Subject: from neomutt" in sent
    client.select("INBOX")
    assert b"\\Flagged" in client.fetch("1", "(FLAGS)")[1][0]


@needs("getmail")
def test_getmail_by_imap_and_pop3(server, account, tmp_path):
    with mail.lmtp(server) as client:
        for number in range(3):
            client.sendmail("a@elsewhere.test", [account["address"]], TEXT.replace(b"\n", b"\r\n") + b"%d\r\n" % number)
    for kind, listener in (("SimpleIMAPSSLRetriever", "imaps"), ("SimplePOP3SSLRetriever", "pop3s")):
        host, port = server.address(listener)
        folder = tmp_path / listener
        (folder / "mail").mkdir(parents=True)
        (folder / "getmailrc").write_text(f"""[retriever]
type = {kind}
server = {host}
port = {port}
username = {account['username']}
password = {account['password']}
ca_certs = {server.ca}
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat > {folder}/mail/$$")
allow_root_commands = true
[options]
delivered_to = false
received = false
""")
        run("getmail", "--getmaildir", folder, "--rcfile", "getmailrc")
        found = [path.read_bytes() for path in (folder / "mail").iterdir()]
        assert len(found) == 3
        assert all(b"One line" in text for text in found)


@needs("fetchmail")
def test_fetchmail_deletes_what_it_took(server, account, tmp_path):
    with mail.lmtp(server) as client:
        for number in range(3):
            client.sendmail("a@elsewhere.test", [account["address"]], TEXT.replace(b"\n", b"\r\n") + b"%d\r\n" % number)
    host, port = server.address("pop3s")
    config = tmp_path / "fetchmailrc"
    config.write_text(f"""poll {host} service {port} protocol pop3 user "{account['username']}" password "{account['password']}"
 ssl no sslcertck mda "cat >> {tmp_path}/taken" no keep no rewrite
""")
    config.chmod(0o600)
    run("fetchmail", "-f", config, "--pidfile", tmp_path / "pid", environment={"HOME": str(tmp_path)})
    assert pathlib.Path(tmp_path / "taken").read_bytes().count(b"One line") == 3
    assert mail.pop3(server, account).stat()[0] == 0
