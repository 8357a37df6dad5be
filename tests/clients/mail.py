"""Small ways to send and read mail with Python's own libraries, for all tests."""

import imaplib
import poplib
import re
import smtplib
import time

WAIT_SECONDS_MAX = 20


def lmtp(server):
    return smtplib.LMTP(*server.address("lmtp"))


def smtp(server):
    return smtplib.SMTP(*server.address("smtp"), timeout=30)


def submission(server, account):
    client = smtplib.SMTP(*server.address("submission"), timeout=30)
    client.starttls(context=server.tls())
    client.login(account["username"], account["password"])
    return client


def imap(server, account):
    client = imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls(), timeout=30)
    client.login(account["username"], account["password"])
    return client


def pop3(server, account):
    host, port = server.address("pop3s")
    client = poplib.POP3_SSL(host, port, context=server.tls(), timeout=30)
    client.user(account["username"])
    client.pass_(account["password"])
    return client


def bodies(client, mailbox="INBOX"):
    """All messages of a mailbox as bytes, in order."""
    status, data = client.select(f'"{mailbox}"', readonly=True)
    assert status == "OK", data
    if int(data[0]) == 0:
        return []
    status, data = client.fetch("1:*", "(UID BODY.PEEK[])")
    assert status == "OK", data
    return [part[1] for part in data if isinstance(part, tuple)]


def without_added(message):
    """A delivered message without the fields that delivery put before it."""
    while True:
        match = re.match(rb"(Return-Path|Received|Delivered-To|X-Estafette-[A-Za-z-]+):[^\n]*\n([ \t][^\n]*\n)*", message)
        if match is None or (match.group(1) == b"Received" and b"(Estafette)" not in match.group(0)):
            return message
        message = message[match.end():]


def wait_for(check, what="it", seconds=WAIT_SECONDS_MAX):
    """Calls `check` until it is true."""
    end = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)
