"""Certificates from files: chosen by the name that a client asks for, changed without a restart, never lost to a bad file."""

import os
import ssl
import subprocess
import time

import pytest

import mail
from conftest import Server, needs
from hostile import CONFIG, DOORS, Wire, dial, healthy, serves

pytestmark = needs("openssl")

RELOAD_SECONDS = 1
# By when a change of the files is in use, on a machine that is busy.
RELOAD_SECONDS_MAX = 15


def make(folder, stem, *names):
    """A self-signed certificate and its key; their paths."""
    chain, key = folder / f"{stem}.pem", folder / f"{stem}.key"
    alternative = ",".join(f"DNS:{name}" for name in names)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", chain, "-days", "2", "-subj", f"/CN={stem}", "-addext",
                    f"subjectAltName={alternative}"], check=True, capture_output=True)
    return chain, key


def der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def shown(server, listener, name):
    """The certificate that a listener shows for a name (None: no name is asked for)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Wire(server.address(listener)) as wire:
        if listener in ("smtp", "submission", "lmtp", "pop3", "imap"):
            wire.line()
            if listener == "lmtp":
                wire.ask(b"LHLO a\r\n")
            elif listener in ("smtp", "submission"):
                wire.ask(b"EHLO a\r\n")
            wire.ask({"pop3": b"STLS\r\n", "imap": b"t STARTTLS\r\n"}.get(listener, b"STARTTLS\r\n"))
        wire.start_tls(context, name)
        return wire.tls.getpeercert(binary_form=True)


@pytest.fixture
def files(tmp_path):
    """The certificates and the settings that name them, the fallback first."""
    wanted = {"first": ("mail.example.org",), "second": ("mail.example.net", "imap.example.net"), "wild": ("*.example.com",)}
    made = {stem: make(tmp_path, stem, *names) for stem, names in wanted.items()}
    lines = [f"[tls]\nreload_seconds = {RELOAD_SECONDS}"]
    for stem, (chain, key) in made.items():
        names = ", ".join(f'"{name}"' for name in wanted[stem])
        lines.append(f'[[tls.certificates]]\nchain = "{chain}"\nkey = "{key}"\nnames = [{names}]')
    settings = CONFIG.replace("command_timeout_seconds = 3", "command_timeout_seconds = 60")
    return made, settings + "\n".join(lines) + "\n"


def test_the_name_chooses_the_certificate(new_server, files):
    made, config = files
    server = new_server(config=config, accounts=1)
    expected = {"mail.example.org": "first", "mail.example.net": "second", "IMAP.Example.NET": "second",
                "any.example.com": "wild", "two.labels.example.com": "first", "example.com": "first",
                "unknown.test": "first", None: "first"}
    for listener in {listener for listener, _, tls in DOORS.values() if tls and serves(server, listener)}:
        for name, stem in expected.items():
            assert shown(server, listener, name) == der(made[stem][0]), (listener, name)
    # A client that verifies is content.
    context = ssl.create_default_context(cafile=str(made["wild"][0]))
    with Wire(server.address("submissions")) as wire:
        wire.start_tls(context, "smtp.example.com")
        assert wire.line().startswith(b"220")
    assert server.ready["ca"] is None, "nothing is self-made"


def test_changed_files_are_used_without_a_restart_and_broken_ones_never(new_server, files, tmp_path):
    made, config = files
    server = new_server(config=config, accounts=1)
    chain, key = made["second"]
    pid, old = server.process.pid, der(chain)
    show = lambda: shown(server, "pop3s", "mail.example.net")
    assert show() == old
    context = ssl.create_default_context(cafile=str(chain))
    opened = Wire(server.address("submissions")).start_tls(context, "mail.example.net")
    assert opened.line().startswith(b"220")
    new_chain, new_key = make(tmp_path, "renewed", "mail.example.net")
    new = der(new_chain)
    bad = {"no PEM at all": (b"garbage\n", key.read_bytes()), "an empty file": (b"", key.read_bytes()),
           "half a file": (new_chain.read_bytes()[:200], key.read_bytes()),
           "a key of another": (chain.read_bytes(), new_key.read_bytes()), "no key": (chain.read_bytes(), b"\0" * 100)}
    good_text, good_key = chain.read_bytes(), key.read_bytes()
    for what, (chain_text, key_text) in bad.items():
        complaints = server.log_file.read_text().count("the old ones stay")
        write(chain, chain_text), write(key, key_text)
        mail.wait_for(lambda: server.log_file.read_text().count("the old ones stay") > complaints, what, RELOAD_SECONDS_MAX)
        assert show() == old, what
    chain.unlink()
    time.sleep(2 * RELOAD_SECONDS)
    assert show() == old, "a file that is gone"
    write(chain, good_text), write(key, good_key)
    write(key, new_key.read_bytes()), write(chain, new_chain.read_bytes())
    mail.wait_for(lambda: show() == new, "the new certificate", RELOAD_SECONDS_MAX)
    assert shown(server, "pop3s", "mail.example.org") == der(made["first"][0])
    assert opened.goes_on("smtp"), "open sessions go on"
    assert server.process.pid == pid and server.process.poll() is None
    healthy(server)


def write(path, data):
    """Replaces a file at once, as tools for certificates do, with a time of its own."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    os.replace(part, path)


@pytest.mark.parametrize("fault", ["missing", "garbage", "wrong key"])
def test_bad_files_at_the_start_are_told(tmp_path, files, fault):
    made, config = files
    chain, key = made["first"]
    if fault == "missing":
        key.unlink()
    elif fault == "garbage":
        chain.write_text("nothing here")
    else:
        key.write_bytes(made["second"][1].read_bytes())
    folder = tmp_path / "server"
    folder.mkdir()
    with pytest.raises(RuntimeError) as told:
        Server(folder, config=config, accounts=1).start()
    text = str(told.value)
    assert "ended with 1" in text and "cannot be used" in text, text
    assert str(key if fault != "garbage" else chain) in text and "panicked" not in text


def test_the_self_made_certificate_stays_and_is_trusted(new_server):
    server = new_server(accounts=1, config="[node]\nhostname = \"mx.example.org\"\n")
    before = shown(server, "pop3s", None)
    context = server.tls()
    for name in ("localhost", "mx.example.org", "127.0.0.1"):
        with Wire(server.address("pop3s")) as wire:
            assert wire.start_tls(context, name).line().startswith(b"+OK")
    for path in server.data.glob("tls/*key*"):
        assert path.stat().st_mode & 0o077 == 0, path
    server.stop()
    server.start()
    assert shown(server, "pop3s", None) == before
    with dial(server, "pop3s") as wire:
        assert wire.goes_on("pop3")
