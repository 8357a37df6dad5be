"""Accounts that move from one shard to another while they are used: nothing is lost, doubled or numbered anew."""

import json
import smtplib
import threading
import time

import pytest

import mail
from clustered import deliver, equal, leader, text
from imap_talk import Talk
from mail import wait_for

SOON_SECONDS = 10
MOVE_SECONDS_MAX = 60
# Mail in the account before it moves.
FOLDERS = {"INBOX": 40, "box": 60, "box/inner": 10, "Sent": 5}


@pytest.fixture
def account(shared_cluster):
    """An account that no other test uses, with mail and flags in several folders."""
    shared_cluster.given = getattr(shared_cluster, "given", 0) + 1
    account = shared_cluster.accounts[shared_cluster.given]
    with Talk(shared_cluster.nodes[0], account, timeout=60) as talk:
        for folder, count in FOLDERS.items():
            if folder not in ("INBOX", "Sent"):
                talk.ok(f'CREATE "{folder}"')
            for number in range(count):
                talk.append(folder, text(f"{folder} {number}"), flags=[r"(\Seen)", "(mine)", r"(\Flagged \Answered)", ""][number % 4])
        talk.select("box")
        talk.ok(r"UID STORE 3:5,9 +FLAGS.SILENT (\Deleted)")
        talk.ok("EXPUNGE")
        talk.ok("UNSELECT")
    return account


def shard_of(cluster, account):
    return json.loads(cluster.command("account", "show", account["username"], "--json").stdout)["shard"]


def other_shard(cluster, account):
    """A shard that another node leads than the account's, and its number."""
    own = shard_of(cluster, account)
    leads = leader(cluster, f"shard-{own}").number
    groups = [group for group in cluster.status()["groups"] if group["group"].startswith("shard-")]
    others = [group for group in groups if group["group"] != f"shard-{own}"]
    others.sort(key=lambda group: group["leader"] == leads)
    return int(others[0]["group"].removeprefix("shard-"))


def move(cluster, account, to, *options):
    return cluster.command("cluster", "move", account["username"], "--to", str(to), *options)


def moved(cluster, account, to):
    wait_for(lambda: not cluster.status()["moves"], "the end of the move", MOVE_SECONDS_MAX)
    assert shard_of(cluster, account) == to


def contents(node, account):
    """All that a client can see: of each folder its numbers, of each message UID, flags and bytes."""
    seen = {}
    with Talk(node, account, timeout=60) as talk:
        for line in talk.ok('LIST "" "*"'):
            name = line.split(b' "/" ')[1].strip(b'"').decode()
            exists, codes = talk.select(name)
            found = talk.fetch("1:*", "(UID FLAGS BODY.PEEK[])") if exists else {}
            messages = {int(one["UID"]): (sorted(flag for flag in one["FLAGS"] if flag != rb"\Recent"), one["BODY[]"])
                        for one in found.values()}
            seen[name] = (codes["UIDVALIDITY"], codes["UIDNEXT"], messages)
            talk.ok("UNSELECT")
    return seen


def test_an_account_moves_and_is_what_it_was(cluster, account):
    before = contents(cluster.nodes[0], account)
    first, to = shard_of(cluster, account), other_shard(cluster, account)
    done = move(cluster, account, to)
    assert done.stdout == f"{account['username']} has moved to shard {to}\n"
    for node in cluster.nodes:
        assert contents(node, account) == before
    # Again, and back: nothing of the first time is in the way.
    assert move(cluster, account, to).stdout == done.stdout
    assert move(cluster, account, first).stdout == f"{account['username']} has moved to shard {first}\n"
    for node in cluster.nodes:
        assert contents(node, account) == before
    equal(cluster)


def test_idle_sessions_go_on_and_are_told(cluster, account):
    idles = []
    for node in cluster.nodes:
        idle = Talk(node, account, timeout=SOON_SECONDS)
        exists, _ = idle.select("INBOX")
        idles.append((idle, idle.start("IDLE")))
        assert idle.response().startswith(b"+")
    for to in (other_shard(cluster, account), shard_of(cluster, account)):
        move(cluster, account, to)
        for node in cluster.nodes:
            deliver(node, account, text("after the move"))
            exists += 1
            for idle, _ in idles:
                assert idle.response() == b"* %d EXISTS\r\n" % exists, (node.number, to)
    for idle, tag in idles:
        idle.send(b"DONE\r\n")
        assert idle.finish(tag)[1].startswith(b"OK")
        assert idle.values(str(exists), "BODY.PEEK[HEADER.FIELDS (SUBJECT)]") or idle.ok("NOOP") is not None
        idle.ok("LOGOUT")


class Busy:
    """Clients that work in the account until they are told to stop; what they were told is kept."""

    def __init__(self, cluster, account):
        self.cluster, self.account = cluster, account
        self.stopping, self.errors = threading.Event(), []
        self.delivered, self.appended, self.flagged, self.gaps = [], {}, {}, []
        works = [(self.deliver, node) for node in cluster.nodes] + [(self.append, node) for node in cluster.nodes] \
            + [(self.flag, node) for node in cluster.nodes] + [(self.poll, node) for node in cluster.nodes]
        self.threads = [threading.Thread(target=self.guarded, args=work) for work in works]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
        assert kind or self.errors == []

    def guarded(self, work, node):
        try:
            work(node)
        except BaseException as error:  # noqa: B902 (told by the test)
            self.errors.append((work.__name__, node.number, repr(error)))

    def turns(self):
        turn = 0
        while not self.stopping.is_set():
            since = time.monotonic()
            yield turn
            self.gaps.append(time.monotonic() - since)
            turn += 1

    def deliver(self, node):
        with mail.lmtp(node) as client:
            for turn in self.turns():
                subject = f"delivered {node.number} {turn}"
                client.sendmail("a@elsewhere.test", [self.account["address"]], text(subject))
                self.delivered.append(subject)

    def append(self, node):
        with Talk(node, self.account, timeout=60) as talk:
            for turn in self.turns():
                subject = f"appended {node.number} {turn}"
                _, uid = talk.append("Sent", text(subject))
                assert uid not in self.appended
                self.appended[uid] = subject

    def flag(self, node):
        """Each node has messages of its own to flag."""
        with Talk(node, self.account, timeout=60) as talk:
            talk.select("box/inner")
            uid = 1 + node.number
            for turn in self.turns():
                sign = "+-"[turn % 2]
                talk.ok(rf"UID STORE {uid} {sign}FLAGS (\Draft)")
                self.flagged[uid] = sign == "+"
                found = talk.fetch(str(uid), "(UID FLAGS)", uid=True).values()
                (flags,) = [one["FLAGS"] for one in found if one.get("UID") == b"%d" % uid]
                assert (rb"\Draft" in flags) == (sign == "+"), (uid, flags)

    def poll(self, node):
        """What a session has seen does not go away."""
        with Talk(node, self.account, timeout=60) as talk:
            exists, _ = talk.select("INBOX")
            for _ in self.turns():
                told = talk.ok("NOOP")
                for line in told:
                    if line.endswith(b" EXISTS"):
                        assert int(line.split()[1]) >= exists, (line, exists)
                        exists = int(line.split()[1])
                    assert not line.endswith(b" EXPUNGE"), line
                assert len(talk.fetch(f"1:{exists}", "(UID)")) == exists
                # The others' work is told in between.
                assert any(line.startswith(b"* STATUS Sent (MESSAGES ") for line in talk.ok("STATUS Sent (MESSAGES)"))

    def check(self, before):
        """Nothing is lost, doubled or changed, on any node."""
        views = [contents(node, self.account) for node in self.cluster.nodes]
        assert views[0] == views[1] == views[2]
        now = views[0]
        for name, (validity, _, messages) in before.items():
            assert now[name][0] == validity
            for uid, (flags, body) in messages.items():
                flags_now, body_now = now[name][2][uid]
                assert body_now == body
                assert name == "box/inner" or flags_now == flags, (name, uid)
        subjects = [body.split(b"Subject: ")[1].split(b"\r\n")[0].decode() for _, body in now["INBOX"][2].values()]
        came = sorted(subject for subject in subjects if subject.startswith("delivered "))
        assert came == sorted(self.delivered)
        for uid, subject in self.appended.items():
            assert subject.encode() in now["Sent"][2][uid][1]
        assert len(now["Sent"][2]) == len(before["Sent"][2]) + len(self.appended)
        for uid, flagged in self.flagged.items():
            assert (rb"\Draft" in now["box/inner"][2][uid][0]) == flagged, uid


def test_an_account_in_use_moves_there_and_back(cluster, account):
    before = contents(cluster.nodes[1], account)
    first, second = shard_of(cluster, account), other_shard(cluster, account)
    with Busy(cluster, account) as busy:
        for to in (second, first, second):
            time.sleep(1)
            done = move(cluster, account, to)
            assert "has moved" in done.stdout, done.stdout
        time.sleep(1)
    print(f"longest turn {max(busy.gaps):.2f} s of {len(busy.gaps)}")
    assert len(busy.delivered) > 10 and len(busy.appended) > 10
    busy.check(before)
    equal(cluster)


def test_a_move_is_given_up(cluster, account):
    before, own = contents(cluster.nodes[0], account), shard_of(cluster, account)
    cluster.command("cluster", "set", "--move-rate", "1")
    try:
        move(cluster, account, other_shard(cluster, account), "--no-wait")
        sending = wait_for(lambda: [one for one in cluster.status()["moves"] if one["phase"] == "sending"], "rows on their way")
        assert [one["username"] for one in sending] == [account["username"]]
        shown = cluster.command("cluster", "status").stdout
        assert account["username"] in shown and "sending" in shown, shown
        done = cluster.command("cluster", "move", account["username"], "--abandon")
        assert done.stdout == f"{account['username']} stays in shard {own}\n"
    finally:
        cluster.command("cluster", "set", "--move-rate", "4096")
    assert cluster.status()["moves"] == [] and shard_of(cluster, account) == own
    assert contents(cluster.nodes[0], account) == before
    deliver(cluster.nodes[1], account, text("still here"))
    assert len(contents(cluster.nodes[2], account)["INBOX"][2]) == FOLDERS["INBOX"] + 1
    refused = cluster.command("cluster", "move", account["username"], "--abandon", check=False)
    assert refused.returncode == 1 and refused.stderr.startswith("error: "), refused.stderr


def test_the_node_that_moves_is_killed_in_the_middle(cluster, account):
    before, to = contents(cluster.nodes[0], account), other_shard(cluster, account)
    mover = leader(cluster, "control")
    cluster.command("cluster", "set", "--move-rate", "1")
    move(cluster, account, to, "--no-wait")
    wait_for(lambda: [one for one in cluster.status()["moves"] if one["phase"] == "sending"], "rows on their way")
    mover.kill()
    stays = next(node for node in cluster.nodes if node.runs)
    wait_for(lambda: stays.command("cluster", "set", "--move-rate", "4096", check=False).returncode == 0, "a leader",
             MOVE_SECONDS_MAX)
    moved(cluster, account, to)
    mover.launch()
    mover.wait_ready()
    cluster.settle()
    for node in cluster.nodes:
        assert contents(node, account) == before
    equal(cluster)


def test_an_account_that_is_deleted_on_its_way_is_gone(cluster, account):
    cluster.command("cluster", "set", "--move-rate", "1")
    try:
        move(cluster, account, other_shard(cluster, account), "--no-wait")
        wait_for(lambda: [one for one in cluster.status()["moves"] if one["phase"] == "sending"], "rows on their way")
        cluster.command("account", "delete", account["username"], "--confirm", account["username"])
    finally:
        cluster.command("cluster", "set", "--move-rate", "4096")
    wait_for(lambda: not cluster.status()["moves"], "the end of the move", MOVE_SECONDS_MAX)
    with pytest.raises(smtplib.SMTPException):
        deliver(cluster.nodes[0], account, text("too late"))
    equal(cluster)


def test_rebalance_says_what_would_move(cluster):
    answer = json.loads(cluster.command("cluster", "rebalance", "--dry-run", "--json").stdout)
    assert answer["dry_run"] is True
    assert not cluster.status()["moves"]
    for one in answer["moves"]:
        assert one["from"] != one["to"]
