"""Mail for other servers: queued, sent through a relay, tried again, returned when it cannot be sent."""

import json
import pathlib
import socket
import struct
import subprocess
import threading
import time

import mail
import pytest
from conftest import NODES, needs

CLOCK = pathlib.Path(__file__).parents[2] / "chaos/shim/clock.c"
DAY_AND_MORE_NS = 26 * 3600 * 10**9

# Another node that leads the shard now waits until who had the item cannot be sending it any more.
RESTART_SECONDS_MAX = 20 if NODES == 1 else 100
TEXT = b"From: <x@demo.test>\r\nTo: <far@elsewhere.test>\r\nSubject: going out\r\n\r\nA line\r\n.dots\r\n"


class Relay:
    """A mail server of few words; `answers` maps recipients to replies given before the usual one."""

    def __init__(self, answers=None, port=0, taking_seconds=0):
        self.answers = answers or {}
        self.taking_seconds = taking_seconds
        self.messages = []
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.session, args=(connection,), daemon=True).start()

    def session(self, connection):
        with connection, connection.makefile("rwb") as stream:
            def say(text):
                stream.write(text.encode() + b"\r\n")
                stream.flush()

            say("220 relay")
            sender, recipients = None, []
            while line := stream.readline():
                verb = line.split(None, 1)[0].upper() if line.split() else b""
                if verb == b"EHLO":
                    say("250-relay\r\n250-8BITMIME\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES")
                elif verb == b"MAIL":
                    sender, recipients = line.strip(), []
                    say("250 2.1.0 ok")
                elif verb == b"RCPT":
                    address = line.split(b"<")[1].split(b">")[0].decode()
                    waiting = self.answers.get(address)
                    reply = waiting.pop(0) if waiting else "250 2.1.5 ok"
                    if reply.startswith("2"):
                        recipients.append(address)
                    say(reply)
                elif verb == b"DATA":
                    if not recipients:
                        say("554 5.5.1 nobody")
                        continue
                    say("354 go")
                    lines = []
                    while (line := stream.readline()) != b".\r\n":
                        lines.append(line[1:] if line.startswith(b".") else line)
                    self.messages.append((sender, recipients, b"".join(lines)))
                    time.sleep(self.taking_seconds)
                    say("250 2.0.0 taken")
                elif verb == b"QUIT":
                    say("221 2.0.0 bye")
                    return
                else:
                    say("250 ok")

    def close(self):
        self.listener.close()


def settings(port, more=""):
    return f"""
[relay]
host = "127.0.0.1:{port}"
[queue]
retry_first_seconds = 1
retry_max_seconds = 2
{more}
"""


def send(server, to):
    account = server.accounts[0]
    with mail.submission(server, account) as client:
        client.sendmail(account["address"], to, TEXT)
    return account


def queued(server):
    return json.loads(server.command("queue", "list", "--json").stdout)


def test_mail_goes_out_once_and_whole(new_server):
    relay = Relay()
    server = new_server(config=settings(relay.port))
    account = send(server, ["far@elsewhere.test", "further@elsewhere.test", server.accounts[1]["address"]])
    mail.wait_for(lambda: relay.messages, "sending")
    mail.wait_for(lambda: queued(server) == [], "an empty queue")
    (sender, recipients, text), = relay.messages
    assert account["address"].encode() in sender
    assert sorted(recipients) == ["far@elsewhere.test", "further@elsewhere.test"]
    assert text.endswith(TEXT.split(b"\r\n\r\n", 1)[1]) and b"\r\nMessage-ID: " in text
    assert not text.startswith(b"Return-Path")
    assert len(mail.bodies(mail.imap(server, server.accounts[1]))) == 1


def test_what_fails_for_now_is_tried_again_and_what_fails_is_returned(new_server):
    relay = Relay({"slow@elsewhere.test": ["451 4.3.0 later"], "gone@elsewhere.test": ["550 5.1.1 nobody here"] * 9})
    server = new_server(config=settings(relay.port))
    account = send(server, ["slow@elsewhere.test", "gone@elsewhere.test"])
    mail.wait_for(lambda: any("slow@elsewhere.test" in to for _, to, _ in relay.messages), "the second attempt")
    (notice,) = mail.wait_for(lambda: mail.bodies(mail.imap(server, account)), "the notice")
    assert notice.startswith(b"Return-Path: <>\r\n")
    assert b"multipart/report" in notice and b"gone@elsewhere.test" in notice and b"5.1.1" in notice
    assert b"Subject: going out" in notice and b"slow@elsewhere.test" not in notice.split(b"message/delivery-status")[1]
    assert sum("slow@elsewhere.test" in to for _, to, _ in relay.messages) == 1


def test_the_queue_outlives_a_kill(new_server):
    quiet = socket.create_server(("127.0.0.1", 0))
    port = quiet.getsockname()[1]
    quiet.close()
    server = new_server(config=settings(port))
    send(server, ["far@elsewhere.test"])
    server.kill()
    relay = Relay(port=port)
    server.start()
    mail.wait_for(lambda: relay.messages, "sending after the restart", RESTART_SECONDS_MAX)
    assert relay.messages[0][1] == ["far@elsewhere.test"]


@needs("gcc")
@pytest.mark.skipif(NODES > 1, reason="one node has the wrong clock")
@pytest.mark.parametrize("restart", [False, True])
def test_mail_that_a_clock_which_was_ahead_has_put_off_goes_out(new_server, tmp_path, restart):
    """The queue's own times were a day ahead, so it waited for a day after the clock was set right."""
    library, clock = tmp_path / "clock.so", tmp_path / "clock"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, CLOCK, "-ldl", "-pthread"], check=True)
    clock.write_bytes(struct.pack("=q", DAY_AND_MORE_NS))
    later = ["451 4.3.0 later"] * 1000
    relay = Relay({"far@elsewhere.test": later})
    server = new_server(config=settings(relay.port),
                        environment={"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(clock)})
    send(server, ["far@elsewhere.test"])
    mail.wait_for(lambda: len(later) < 1000, "the first attempt")
    mail.wait_for(lambda: [item for item in queued(server) if item["attempts"] > 0], "that it is noted")
    assert queued(server)[0]["next_ms"] > (time.time() + 25 * 3600) * 1000
    if restart:
        server.stop()
    later.clear()
    with open(clock, "r+b") as file:
        file.write(struct.pack("=q", 0))
    if restart:
        server.start()
    mail.wait_for(lambda: any("far@elsewhere.test" in to for _, to, _ in relay.messages), "sending")
    mail.wait_for(lambda: queued(server) == [], "an empty queue")


def test_a_stop_waits_for_the_answer_to_what_was_sent(new_server):
    relay = Relay(taking_seconds=4)
    server = new_server(config=settings(relay.port))
    send(server, ["far@elsewhere.test"])
    mail.wait_for(lambda: relay.messages, "sending")
    server.stop()
    server.start()
    time.sleep(5)
    assert len(relay.messages) == 1
    assert queued(server) == []


def test_old_mail_comes_back(new_server):
    quiet = socket.create_server(("127.0.0.1", 0))
    port = quiet.getsockname()[1]
    quiet.close()
    server = new_server(config=settings(port, "lifetime_seconds = 2\ndelay_notice_seconds = 1"))
    account = send(server, ["far@elsewhere.test"])
    notices = mail.wait_for(
        lambda: [text for text in mail.bodies(mail.imap(server, account)) if b"Action: failed" in text], "the return")
    assert b"far@elsewhere.test" in notices[0]


def test_a_redirection_leaves_the_server_with_or_without_a_copy(new_server):
    relay = Relay()
    server = new_server(config=settings(relay.port))
    account = server.accounts[0]
    server.command("account", "redirect", account["username"], "far@elsewhere.test", "--keep-copy")
    with mail.smtp(server) as client:
        client.sendmail("a@elsewhere.test", [account["address"]], TEXT)
    mail.wait_for(lambda: relay.messages, "passing on")
    assert relay.messages[0][1] == ["far@elsewhere.test"]
    assert len(mail.bodies(mail.imap(server, account))) == 1
