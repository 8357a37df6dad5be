"""Faults on real nodes under load, in short: `estafette-chaos` does it and holds what clients were told against
what they find. The long form is `estafette-chaos run --rounds 100`; docs/durability.md has what it gave."""

import collections
import errno
import itertools
import json
import os
import shutil
import smtplib
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from conftest import PROGRAM, Server, beside, needs
from mail import bodies, imap, lmtp, without_added

SECONDS_MAX = 240
needs_gcc = needs("gcc")


def chaos(folder, faults, rounds, *options):
    """Runs so many rounds. Gives the report and the exit status."""
    command = [beside("estafette-chaos", "ESTAFETTE_CHAOS"), "run", "--program", PROGRAM, "--faults", ",".join(faults), "--rounds", str(rounds),
               "--accounts", "6", "--sessions", "8", "--load-ms-max", "500", "--folder", str(folder / "chaos"),
               "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


def run(folder, faults, rounds):
    """Runs so many rounds; the oracle has to hold. Gives the report."""
    report, status = chaos(folder, faults, rounds)
    assert report["findings"] == [], (report["seed"], report["failed_round"], report["findings"][:5], report["folder"])
    assert status == 0 and report["holds"]
    assert report["rounds"] == rounds
    shutil.rmtree(folder / "chaos")
    skipped = {fault["why_skipped"] for fault in report["faults"].values() if fault["skipped"]}
    if skipped and all(fault["skipped"] == fault["rounds"] for fault in report["faults"].values()):
        pytest.skip("; ".join(skipped))
    assert report["told"]["acknowledged"] > 0, "nothing was delivered, so nothing was shown"
    return report


def test_killed_at_random_moments(tmp_path):
    report = run(tmp_path, ["kill"], 5)
    assert report["compared"]["acknowledged"] > 0
    assert report["check"] == "clean"


def test_stopped_and_paused_under_load(tmp_path):
    run(tmp_path, ["term", "pause"], 4)


def test_the_tail_of_the_log_is_cut_off_or_a_bit_in_it_flipped(tmp_path):
    """Refused with a clear message, or nothing acknowledged is missing."""
    report = run(tmp_path, ["cut-wal", "flip-wal"], 6)
    tried = sum(fault["refused_starts"] + fault["taken_starts"] for fault in report["faults"].values())
    assert tried > 0


def test_flipped_bits_in_tables_and_blobs_are_told(tmp_path):
    """An error or the right bytes, never wrong ones; `check` finds what cannot be read."""
    run(tmp_path, ["flip-sst", "flip-blob"], 4)


def test_a_disk_that_fills_up(tmp_path):
    """In a moment, at any moment, half of the time to the last byte: no new start is needed."""
    report = run(tmp_path, ["disk-full"], 3)
    assert report["faults"]["disk-full"]["service_restarts"] == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


class Load:
    """Delivers over LMTP until it is told to stop, from several connections."""

    def __init__(self, node, recipients, connections=6):
        self.node, self.recipients, self.acknowledged, self.refused = node, recipients, [], []
        self.stopping, self.next = threading.Event(), itertools.count()
        self.threads = [threading.Thread(target=self.deliver, daemon=True) for _ in range(connections)]
        for thread in self.threads:
            thread.start()

    def deliver(self):
        client = lmtp(self.node)
        while not self.stopping.is_set():
            number = next(self.next)
            recipient = self.recipients[number % len(self.recipients)]
            message = f"Subject: {number}\r\n\r\n".encode() + f"line of {number}\r\n".encode() * 2000
            try:
                client.sendmail("sender@example.org", [recipient], message)
                self.acknowledged.append((recipient, message))
            except smtplib.SMTPResponseException as refusal:
                self.refused.append((refusal.smtp_code, number))
                time.sleep(0.01)
            except smtplib.SMTPRecipientsRefused as refusal:
                self.refused.append((refusal.recipients[recipient][0], number))
                time.sleep(0.01)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


def ready(node):
    """What the page for health says: the status and whether mail is taken."""
    try:
        with urllib.request.urlopen("http://%s:%d/health/ready" % node.address("http"), timeout=10) as page:
            return page.status, json.load(page)["takes_mail"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["takes_mail"]


def until(what, happened, seconds=30):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def fill(folder, left=0):
    """Takes all room but so many bytes. Gives the seconds that it took."""
    begin = time.monotonic()
    with open(folder / "filler", "wb") as filler:
        while (free := (disk := os.statvfs(folder)).f_bavail * disk.f_frsize - left) >= 4096:
            try:
                os.posix_fallocate(filler.fileno(), filler.seek(0, os.SEEK_END), free)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return time.monotonic() - begin


def test_mail_is_removed_while_the_disk_is_full(small_disk, tmp_path):
    """EXPUNGE, DELETE and the removal of an account, beside a load; then room, and service by itself."""
    node = Server(small_disk, accounts=6, config="[storage]\nmin_free_bytes = 134217728\n")
    node.log_file = tmp_path / "log.txt"
    node.start()
    try:
        first, second, leaver, *others = node.accounts
        client = imap(node, first)
        assert client.create("Old")[0] == "OK"
        for _ in range(20):
            assert client.append("Old", None, None, b"Subject: old\r\n\r\nold\r\n")[0] == "OK"
        client.select("Old")
        client.store("1:5", "+FLAGS", r"(\Deleted)")
        with open(small_disk / "taken", "wb") as taken:
            os.posix_fallocate(taken.fileno(), 0, 100 << 20)
        load = Load(node, [account["address"] for account in [second, *others]])
        until("deliveries", lambda: len(load.acknowledged) > 100)
        assert fill(small_disk) < 1
        seen = len(load.refused)
        until("452", lambda: len(load.refused) > seen + 20)
        status, gone = client.expunge()
        assert status == "OK" and len(gone) == 5
        client.close()
        assert client.delete("Old")[0] == "OK"
        node.command("account", "delete", leaver["username"], "--confirm", leaver["username"])
        assert {code for code, _ in load.refused} == {452}
        before = len(load.acknowledged)
        status, answer = client.append("INBOX", None, None, b"Subject: new\r\n\r\nnew\r\n")
        assert status == "NO" and (b"[UNAVAILABLE]" in answer[0] or b"[OVERQUOTA]" in answer[0]), answer
        assert ready(node) == (200, False)
        # Reading goes on as well.
        assert client.select("INBOX")[0] == "OK"
        (small_disk / "filler").unlink()
        until("deliveries by itself", lambda: len(load.acknowledged) > before + 20)
        assert ready(node) == (200, True)
        load.stop()
        assert client.append("INBOX", None, None, b"Subject: new\r\n\r\nnew\r\n")[0] == "OK"
        client.logout()
        node.kill()
        node.start()
        for account in [second, *others]:
            client = imap(node, account)
            found = collections.Counter(without_added(message) for message in bodies(client))
            sent = collections.Counter(m for recipient, m in load.acknowledged if recipient == account["address"])
            assert found == sent
            client.logout()
        assert node.command("account", "show", leaver["username"], check=False).returncode != 0
    finally:
        node.stop()


def test_a_node_starts_on_a_full_disk(small_disk, tmp_path):
    node = Server(small_disk, accounts=2, config="[storage]\nmin_free_bytes = 134217728\n")
    node.log_file, node.ready_file = tmp_path / "log.txt", tmp_path / "ready.json"
    node.start()
    try:
        account = node.accounts[0]
        with lmtp(node) as client:
            client.sendmail("sender@example.org", [account["address"]], b"Subject: there\r\n\r\nthere\r\n")
        node.kill()
        fill(small_disk)
        node.start()
        assert ready(node) == (200, False)
        client = imap(node, account)
        assert len(bodies(client)) == 1
        client.select("INBOX")
        client.store("1", "+FLAGS", r"(\Deleted)")
        assert client.expunge()[0] == "OK"
        client.logout()
        (small_disk / "filler").unlink()
        until("service", lambda: ready(node) == (200, True))
    finally:
        node.stop()


def test_too_little_room_to_keep_is_refused(tmp_path):
    node = Server(tmp_path, config="[storage]\nmin_free_bytes = 1048576\n")
    with pytest.raises(RuntimeError, match=r"'storage\.min_free_bytes' must be 134217728 \(128 MiB\) or more"):
        node.start()


@needs_gcc
def test_syncs_that_fail(tmp_path):
    report = run(tmp_path, ["sync-fails"], 2)
    assert report["faults"]["sync-fails"]["told"]["put_off"] > 0, "the fault had no effect"


@needs_gcc
def test_power_loss(tmp_path):
    """What was not synced is taken away."""
    report = run(tmp_path, ["power-loss"], 2)
    assert report["faults"]["power-loss"]["unsynced_bytes"] > 0, "nothing was taken away, so nothing was shown"


@needs_gcc
def test_a_sync_that_is_left_out_is_found(tmp_path):
    report, status = chaos(tmp_path, ["power-loss"], 3, "--planted", "sync-left-out")
    assert status == 1 and not report["holds"] and report["findings"]


@needs_gcc
@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
@needs("nft", "ip", "unshare", "nsenter", "mkfs.ext4")
def test_three_nodes(tmp_path):
    """A cluster under overlapping faults; the long form is in docs/durability.md."""
    report, status = chaos(tmp_path, ["kill", "cut", "power-loss"], 3, "--nodes", "3", "--probed", "2")
    assert report["findings"] == [], (report["seed"], report["cluster"]["failed"], report["findings"][:5], report["folder"])
    assert status == 0 and report["holds"]
    assert report["told"]["acknowledged"] > 0 and report["cluster"]["probes"] > 0
    shutil.rmtree(tmp_path / "chaos")
