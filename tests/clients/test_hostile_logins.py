"""Guessing passwords: refused without TLS, slowed down, limited by address, and no word about who exists."""

import statistics
import threading
import time

import mail
from conftest import NODES
from hostile import CONFIG, DOORS, Wire, dial, healthy, log_in, protocol_of, serves, try_login

# Measurements of each kind, and how far apart their medians may be.
SAMPLES = 21
RATIO_MAX = 1.5
# A machine that is busy may need another try; a difference that is there shows each time.
ATTEMPTS = 4
OTHER_ADDRESS = "127.0.0.2"
# By when each node knows of the failures that others counted; what comes meanwhile, each limits for itself.
SHARED_SECONDS = 1


def config(sessions="", login=""):
    return f"""
[sessions]
{sessions}
[login]
argon2_memory_kib = 64
argon2_passes = 1
{login}
"""


def tls_doors(server):
    names = ("submission+tls", "submissions", "pop3+tls", "pop3s", "imap+tls", "imaps")
    return [door for door in names if serves(server, DOORS[door][0])]


def attempt(server, door, name, password, source=None):
    """One session with one login; the answer and the seconds that it took."""
    with dial(server, door, source=source) as wire:
        began = time.monotonic()
        answer = try_login(wire, protocol_of(door), name, password)
        return answer, time.monotonic() - began


def is_welcome(answer):
    return answer.startswith((b"235", b"+OK", b"l OK"))


def is_wrong(answer):
    return answer.startswith((b"535 5.7.8", b"-ERR [AUTH]", b"l NO [AUTHENTICATIONFAILED]"))


def is_limited(answer):
    return answer.startswith((b"421 4.7.0", b"-ERR [LOGIN-DELAY]", b"l NO [LIMIT]"))


def test_no_login_without_tls(new_server):
    server = new_server(config=CONFIG, accounts=2)
    account = server.accounts[1]
    name, password = account["username"], account["password"]
    with dial(server, "submission") as wire:
        assert try_login(wire, "smtp", name, password).startswith(b"538 5.7.11")
        assert wire.ask(b"MAIL FROM:<" + account["address"].encode() + b">\r\n").startswith(b"530")
    with dial(server, "pop3") as wire:
        for command in (f"USER {name}", f"PASS {password}", "AUTH LOGIN", "AUTH PLAIN"):
            assert wire.ask(command.encode() + b"\r\n").startswith(b"-ERR")
        assert try_login(wire, "pop3", name, password).startswith(b"-ERR")
        assert wire.ask(b"STAT\r\n").startswith(b"-ERR")
    if serves(server, "imap"):
        with dial(server, "imap") as wire:
            assert try_login(wire, "imap", name, password).startswith(b"l NO [PRIVACYREQUIRED]")
            wire.send(f"a LOGIN {name} {password}\r\n".encode())
            assert wire.tagged(b"a").startswith(b"a NO [PRIVACYREQUIRED]")
            wire.send(b"c CAPABILITY\r\n")
            capabilities = wire.line()
            assert b"LOGINDISABLED" in capabilities and b"AUTH=" not in capabilities
    # A listener's setting allows it.
    lax = new_server(config=CONFIG + "allow_plaintext = true\n", accounts=2)
    account = lax.accounts[1]
    for door in ("submission", "pop3", "imap"):
        if serves(lax, DOORS[door][0]):
            log_in(dial(lax, door), protocol_of(door), account).close()


def test_failures_slow_down_and_success_does_not(new_server):
    server = new_server(config=config(login="failure_delay_ms = 100\nfailure_delay_max_ms = 800"), accounts=2)
    account = server.accounts[1]
    took = []
    for turn in range(5):
        answer, seconds = attempt(server, tls_doors(server)[turn % 4], account["username"], "wrong")
        assert is_wrong(answer), answer
        took.append(seconds)
    for seconds, least in zip(took, (0.1, 0.2, 0.4, 0.8, 0.8)):
        assert least <= seconds < least + 3, took
    answer, seconds = attempt(server, "pop3s", account["username"], account["password"])
    assert is_welcome(answer) and seconds < 0.7
    answer, seconds = attempt(server, "pop3s", account["username"], "wrong", OTHER_ADDRESS)
    assert is_wrong(answer) and seconds < 0.7, "each address has its own count"


def test_failures_are_limited_by_address(new_server):
    limits = "failure_delay_ms = 1\nfailure_delay_max_ms = 1\nfailures_per_address = 6\n"
    server = new_server(config=config(login=limits), accounts=2)
    account = server.accounts[1]
    for turn in range(6):
        # All protocols and all names count together.
        answer, _ = attempt(server, tls_doors(server)[turn % 4], f"guess{turn}", "wrong")
        assert is_wrong(answer), (turn, answer)
    if NODES > 1:
        time.sleep(SHARED_SECONDS)
    for door in tls_doors(server):
        answer, _ = attempt(server, door, account["username"], account["password"])
        assert is_limited(answer), "the right password is not even looked at"
        answer, _ = attempt(server, door, account["username"], account["password"], OTHER_ADDRESS)
        assert is_welcome(answer)
    # What was counted outlives a restart.
    server.stop()
    server.start()
    answer, _ = attempt(server, "pop3s", account["username"], account["password"])
    assert is_limited(answer)
    healthy(server)


def test_the_limit_ends_with_its_window(new_server):
    limits = "failure_delay_ms = 1\nfailure_delay_max_ms = 1\nfailures_per_address = 3\nfailure_window_seconds = 2\n"
    server = new_server(config=config(login=limits), accounts=2)
    account = server.accounts[1]
    for _ in range(3):
        attempt(server, "pop3s", account["username"], "wrong")

    def welcome():
        return is_welcome(attempt(server, "pop3s", account["username"], account["password"])[0])

    mail.wait_for(welcome, "the end of the window", 10)


def test_guesses_at_the_same_time_are_limited_too(new_server):
    """The limit holds for what is asked at once, before the first failure is known."""
    limit, sessions = 10, 80
    limits = f"failure_delay_ms = 1\nfailure_delay_max_ms = 1\nfailures_per_address = {limit}\n"
    server = new_server(config="\n[login]\n" + limits, accounts=2)
    wires = [dial(server, "pop3s") for _ in range(sessions)]
    for wire in wires:
        wire.send(f"USER {server.accounts[1]['username']}\r\nPASS wrong\r\n".encode())
    answers = []
    for wire in wires:
        wire.line()
        answers.append(wire.line())
        wire.close()
    wrong = sum(map(is_wrong, answers))
    assert wrong + sum(map(is_limited, answers)) == sessions
    assert limit <= wrong <= NODES * limit + 5, f"{wrong} guesses were looked at"


def test_a_session_ends_after_three_failures(new_server):
    server = new_server(config=CONFIG, accounts=2)
    for door in tls_doors(server):
        with dial(server, door) as wire:
            for _ in range(3):
                assert is_wrong(try_login(wire, protocol_of(door), server.accounts[1]["username"], "wrong"))
            assert not wire.goes_on(protocol_of(door)), door


def test_odd_names_and_passwords(new_server):
    server = new_server(config=CONFIG, accounts=2)
    known = server.accounts[1]["username"]
    names = ("a" * 5000, "@", "@demo.test", "user1@", known + "@demo.test", known.upper() + " ", "x\ty", "ü@ü.test",
             "user1@demo.test\u0000", "%s%n", "../../etc/passwd", "' OR 1=1 --", "\u202e", "*")
    for door in ("submissions", "pop3s", "imaps"):
        if not serves(server, DOORS[door][0]):
            continue
        for name in names:
            for password in ("wrong", "p" * 3000, "\u00fc\u0301", " "):
                answer, _ = attempt(server, door, name, password)
                assert not is_welcome(answer) and answer.startswith((b"5", b"-ERR", b"l NO", b"l BAD")), (name, answer)
    healthy(server)


def medians(server, door, names):
    """The median time of a failed login for each name, taken in turns."""
    took = {name: [] for name in names}
    for _ in range(SAMPLES):
        for name in names:
            answer, seconds = attempt(server, door, name, "wrong-password")
            assert is_wrong(answer), answer
            took[name].append(seconds)
    return {name: statistics.median(times) for name, times in took.items()}


def test_time_does_not_tell_who_exists(new_server):
    """Known and unknown names, and names that cannot be, take the same time. The hash is large enough to show."""
    server = new_server(accounts=2, config="""
[login]
argon2_memory_kib = 4096
argon2_passes = 3
failure_delay_ms = 0
failure_delay_max_ms = 0
failures_per_address = 1000000
""")
    account = server.accounts[1]
    names = (account["username"], account["address"], "nobody", "nobody@demo.test", "nobody@elsewhere.test", "@@")
    for door in ("submissions", "pop3s", "imaps"):
        if not serves(server, DOORS[door][0]):
            continue
        for number in range(ATTEMPTS):
            found = medians(server, door, names)
            if max(found.values()) < RATIO_MAX * min(found.values()):
                break
            assert number < ATTEMPTS - 1, (door, found)


def test_sessions_are_limited_by_address(new_server):
    server = new_server(config=config(sessions="max_per_address = 6\nmax = 9"), accounts=2)
    wires = [dial(server, "smtp", greet=False) for _ in range(6)]
    refusals = {"smtp": b"421 4.7.0", "submission": b"421 4.7.0", "lmtp": b"421 4.7.0", "pop3": b"-ERR", "imap": b"* BYE"}
    for listener, refusal in refusals.items():
        if serves(server, listener):
            with Wire(server.address(listener)) as wire:
                assert wire.rest().startswith(refusal), listener
    for listener in ("submissions", "pop3s", "imaps"):
        if serves(server, listener):
            with Wire(server.address(listener)) as wire:
                assert wire.rest() == b"", "no handshake for one too many"
    others = [dial(server, "smtp", source=OTHER_ADDRESS) for _ in range(3)]
    with Wire(server.address("smtp"), source=OTHER_ADDRESS) as wire:
        assert wire.rest().startswith(b"421 4.3.2")
    assert all(wire.goes_on("smtp") for wire in wires + others)
    for wire in wires + others:
        wire.close()

    def free():
        with Wire(server.address("smtp")) as wire:
            return wire.line().startswith(b"220")

    mail.wait_for(free, "a free place")


def test_many_failures_do_not_hold_up_a_login(new_server):
    """While one address guesses with all its might, another one logs in."""
    server = new_server(accounts=2, config="\n[login]\nfailure_delay_ms = 1\nfailure_delay_max_ms = 1\n")
    account = server.accounts[1]
    stop = threading.Event()

    def guess():
        while not stop.is_set():
            attempt(server, "pop3s", account["username"], "wrong")

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            answer, seconds = attempt(server, "submissions", account["username"], account["password"], OTHER_ADDRESS)
            assert is_welcome(answer) and seconds < 5
    finally:
        stop.set()
        for thread in threads:
            thread.join()
