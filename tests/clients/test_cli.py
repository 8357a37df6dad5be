"""The command line against the real program: every command, people's words and JSON."""

import base64
import json
import mailbox
import os
import re
import signal
import subprocess
import time

import mail
import pytest
from api import local, network
from conftest import NODES, PROGRAM


@pytest.fixture
def run(server):
    """Runs a command and gives its JSON."""
    def run(*arguments, **options):
        done = server.command(*arguments, "--json", **options)
        return json.loads(done.stdout)
    return run


@pytest.fixture
def refused(server):
    """Runs a command that must fail and gives its words."""
    def refused(*arguments, status=1, **options):
        done = server.command(*arguments, check=False, **options)
        assert done.returncode == status, (done.stdout, done.stderr)
        assert done.stderr.startswith("error: "), done.stderr
        return done.stderr
    return refused


@pytest.fixture
def domain(server, run):
    """A domain of the test's own."""
    server.domains_made = getattr(server, "domains_made", 0) + 1
    name = f"cli{server.domains_made}.test"
    made = run("domain", "create", name, "--plan", "large")
    return {"name": name, **made["administrator"]}


def test_plans(server, run, refused):
    made = run("plan", "create", "Gold", "--storage", "1.5G", "--mailboxes", "7")
    assert (made["storage_bytes"], made["mailboxes"], made["aliases"]) == (1610612736, 7, None)
    changed = run("plan", "change", "gold", "--rename", "Silver", "--storage", "unlimited", "--aliases", "3")
    assert (changed["name"], changed["storage_bytes"], changed["mailboxes"], changed["aliases"]) == ("Silver", None, 7, 3)
    assert "Silver" in server.command("plan", "list").stdout
    assert {"simple", "recommended", "large", "Silver"} <= {plan["name"] for plan in run("plan", "list")}
    assert "taken" in refused("plan", "create", "silver")
    run("domain", "create", "silver.test", "--plan", "silver", "--administrator-quota", "1G")
    assert "have this plan" in refused("plan", "delete", "Silver")
    run("domain", "delete", "silver.test", "--confirm", "silver.test")
    run("plan", "delete", "Silver")
    assert "no such plan" in refused("plan", "delete", "Silver")


def test_domains(server, run, refused, domain):
    name = domain["name"]
    shown = run("domain", "show", name)
    assert shown["domain"]["administrator"] == domain["username"]
    leads = {entry["address"]: entry["leads_to"] for entry in shown["default_addresses"]}
    assert leads == {f"{local}@{name}": [domain["username"]] for local in
                     ("abuse", "hostmaster", "postmaster", "webmaster")}
    assert "postmaster@" in server.command("domain", "show", name).stdout
    run("domain", "change", name, "--description", "two words", "--contact", "a@example.net", "--plan", "recommended")
    [listed] = run("domain", "list", "--search", "two words")
    assert (listed["name"], listed["contact"], listed["plan"]) == (name, "a@example.net", "recommended")
    run("domain", "alias", "add", name, f"other.{name}")
    assert run("domain", "show", f"other.{name}")["domain"]["aliases"] == [f"other.{name}"]
    assert "taken" in refused("domain", "alias", "add", name, f"other.{name}")
    run("domain", "alias", "remove", name, f"other.{name}")
    assert "no such domain" in refused("domain", "show", f"other.{name}")
    run("domain", "create", f"sub.{name}", "--subdomain-of", name, "--administrator", domain["username"])
    assert "sub-domains" in refused("domain", "delete", name, "--confirm", name)
    run("domain", "delete", f"sub.{name}", "--confirm", f"sub.{name}")
    run("domain", "suspend", name)
    assert run("domain", "show", name)["domain"]["suspended"]
    run("domain", "resume", name)
    assert not run("domain", "show", name)["domain"]["suspended"]
    assert "nothing was deleted" in refused("domain", "delete", name)
    assert "nothing was deleted" in refused("domain", "delete", name, "--confirm", "another.test")
    assert "deleted the domain" in server.command("domain", "delete", name, "--confirm", name).stdout
    assert "no such domain" in refused("domain", "show", name)
    assert "no such account" in refused("account", "show", domain["username"])


def test_accounts(server, run, refused, domain):
    name = domain["name"]
    made = run("account", "create", f"Anna@{name}", "--name", "Anna Ä", "--quota", "1G", "--role", "domain-administrator")
    username, password = made["account"]["username"], made["password"]
    assert re.fullmatch(r"[a-z]+[0-9]{4}", username) and len(password) >= 20
    mail.imap(server, {"username": username, "password": password}).logout()
    given = run("account", "create", f"bob@{name}", "--password-stdin", input="correct horse 9\n")
    assert given["password"] is None
    bob = given["account"]["username"]
    mail.pop3(server, {"username": f"bob@{name}", "password": "correct horse 9"}).quit()
    assert not run("account", "create", f"none@{name}", "--no-password")["account"]["has_password"]
    for bad in ("short1", "nodigitsatall", "password1", bob):
        assert "password" in refused("account", "password", bob, "--stdin", input=f"{bad}\n")
    assert "taken" in refused("account", "create", f"anna@{name}")
    assert "no such domain" in refused("account", "create", "a@not-here.test")
    assert [account["username"] for account in run("account", "list", "--domain", name, "--search", "anna")] == [username]
    assert "Anna Ä" in server.command("account", "list", "--domain", name).stdout
    changed = run("account", "change", username, "--name", "Anna B", "--role", "owner")
    assert (changed["real_name"], changed["role"]) == ("Anna B", "owner")
    assert run("account", "quota", f"anna@{name}", "2G")["quota_bytes"] == 2 << 30
    assert "allows" in refused("account", "quota", username, "900G")
    new = run("account", "password", username)["password"]
    assert new != password
    mail.imap(server, {"username": username, "password": new}).logout()
    assert run("account", "disable", username)["disabled"]
    with pytest.raises(Exception):
        mail.imap(server, {"username": username, "password": new})
    assert not run("account", "enable", username)["disabled"]
    assert run("account", "lock", username)["locked"]
    assert not run("account", "unlock", username)["locked"]
    assert not run("account", "password", username, "--none")["has_password"]
    assert "has no password" in server.command("account", "password", username, "--none").stdout


def test_addresses_redirections_services_members(server, run, refused, domain):
    name = domain["name"]
    one = run("account", "create", f"one@{name}")["account"]["username"]
    two = run("account", "create", f"two@{name}")["account"]["username"]
    shown = run("account", "address", "add", one, f"uno@{name}")
    assert [address["address"] for address in shown["addresses"]] == [f"one@{name}", f"uno@{name}"]
    assert "another domain" in refused("account", "address", "add", one, f"uno@{server.domain}")
    assert not run("account", "address", "disable", one, "uno")["addresses"][1]["enabled"]
    assert run("account", "address", "enable", one, "uno")["addresses"][1]["enabled"]
    assert run("account", "change", one, "--primary", "uno")["addresses"][0]["address"] == f"uno@{name}"
    assert "primary" in refused("account", "address", "remove", one, "uno")
    assert len(run("account", "address", "remove", one, f"one@{name}")["addresses"]) == 1
    redirected = run("account", "redirect", one, two, "c@example.net", "--keep-copy")
    assert (redirected["redirect_to"], redirected["redirect_keeps_copy"]) == ([two, "c@example.net"], True)
    assert "loop" in refused("account", "redirect", two, one)
    assert run("account", "redirect", one, "--none")["redirect_to"] == []
    services = run("account", "services", one, "--on", "group", "--off", "filter,antivirus")["services"]
    assert services["group"] and services["mailbox"] and not services["filter"] and not services["antivirus"]
    assert run("account", "members", one, "--add", f"{two},d@example.net") == [two, "d@example.net"]
    assert run("account", "members", one, "--remove", two) == ["d@example.net"]
    assert server.command("account", "members", one).stdout == "d@example.net\n"


def test_aliases_and_catch_all(server, run, refused, domain):
    name = domain["name"]
    one = run("account", "create", f"one@{name}")["account"]["username"]
    made = run("alias", "create", f"sales@{name}", one, "c@example.net")
    assert made["destinations"] == [one, "c@example.net"]
    changed = run("alias", "change", f"sales@{name}", "--add", "d@example.net", "--remove", "c@example.net", "--everyone", "yes")
    assert changed["destinations"] == [one, "d@example.net"] and changed["options"]["everyone"]
    assert run("alias", "change", f"sales@{name}", "--to", one, "--everyone", "no")["destinations"] == [one]
    assert [alias["address"] for alias in run("alias", "list", "--search", f"sales@{name}")] == [f"sales@{name}"]
    assert "postmaster@" in server.command("alias", "list", "--domain", name).stdout
    assert "at least one destination" in refused("alias", "create", f"empty@{name}")
    assert "neither" in refused("alias", "create", f"x@{name}", "nobody9999")
    run("domain", "catch-all", name, f"sales@{name}")
    assert run("domain", "show", name)["domain"]["catch_all"] == f"sales@{name}"
    run("domain", "catch-all", name, "--none")
    assert run("domain", "show", name)["domain"]["catch_all"] is None
    run("alias", "delete", f"sales@{name}")
    assert "no such alias" in refused("alias", "delete", f"sales@{name}")
    assert "must stay" in refused("alias", "delete", f"postmaster@{name}")


def test_audit_status_operators(server, run, domain):
    run("domain", "change", domain["name"], "--description", "watched")
    entry = run("audit", "--domain", domain["name"], "--limit", "1")[0]
    assert (entry["actor"], entry["origin"], entry["action"]) == ("console", "local", "domain.change")
    assert {"name": "description", "before": "", "after": "watched"} in entry["fields"]
    entries = run("audit", "--limit", "1000000")
    order = [(entry["time_ms"], entry["sequence"]) for entry in entries]
    assert order == sorted(order, reverse=True) and len(set(order)) == len(order)
    assert "watched" in server.command("audit", "--limit", "5").stdout
    status = run("status")
    assert (status["health"], status["takes_mail"]) == ("good", True)
    assert {group["name"] for group in status["groups"]} >= {"control", "traffic", "shard 1"}
    assert all(group["running"] for group in status["groups"])
    assert NODES > 1 or all(group["leads"] for group in status["groups"])
    assert "shard 1" in server.command("status").stdout
    made = run("operator", "create", "boss", "--name", "The Boss")
    assert {operator["username"] for operator in run("operator", "list")} >= {"admin", "boss"}
    assert network(server, ("boss", made["password"]), "GET", "/api/v1/status")[0] == 200
    run("account", "delete", "boss", "--confirm", "boss")


def test_deleting_an_account_removes_its_mail(server, run, refused, domain):
    name = domain["name"]
    made = run("account", "create", f"gone@{name}")
    username = made["account"]["username"]
    with mail.lmtp(server) as client:
        for number in range(3):
            client.sendmail("a@elsewhere.test", [f"gone@{name}"], f"Subject: {number}\n\ntext\n")
    mailboxes = run("mailbox", "list", username)
    [inbox] = [entry for entry in mailboxes["items"] if entry["name"] == "INBOX"]
    assert (inbox["messages"], inbox["unseen"], mailboxes["messages"]) == (3, 3, 3)
    assert mailboxes["used_bytes"] == inbox["bytes"] > 0
    assert {entry["special_use"] for entry in mailboxes["items"]} >= {"\\Sent", "\\Drafts", "\\Junk", "\\Trash"}
    assert "3 messages" in server.command("mailbox", "list", username).stdout
    words = refused("account", "delete", username)
    assert "--confirm" in words and run("account", "show", username)["messages"] == 3
    done = server.command("account", "delete", username, "--confirm", username)
    assert "3 messages" in done.stdout
    assert "no such account" in refused("mailbox", "list", username)
    with mail.lmtp(server) as client:
        client.sendmail("a@elsewhere.test", [f"admin@{name}"], "Subject: x\n\ntext\n")
        with pytest.raises(Exception):
            client.sendmail("a@elsewhere.test", [f"gone@{name}"], "Subject: x\n\ntext\n")


def test_queue(server, run, refused, account):
    with mail.submission(server, account) as client:
        client.sendmail(account["address"], ["far@example.net", "away@example.net"], "Subject: out\n\ntext\n")
    [item] = mail.wait_for(lambda: run("queue", "list", "--search", "far@example.net"), "the queue item")
    assert item["sender"] == account["address"]
    assert {recipient["address"] for recipient in item["recipients"]} == {"far@example.net", "away@example.net"}
    assert "far@example.net" in server.command("queue", "show", item["id"]).stdout
    assert item["id"] in server.command("queue", "list").stdout
    assert run("queue", "show", item["id"])["id"] == item["id"]
    run("queue", "retry", item["id"])
    run("queue", "cancel", item["id"])
    assert "no such item" in refused("queue", "show", item["id"])
    assert "no such item" in refused("queue", "retry", item["id"])
    assert "named by its shard" in refused("queue", "cancel", "nonsense")


def equal_messages(found, wanted):
    assert sorted(found) == sorted(wanted)


MESSAGES = [f"From: a@example.org\nSubject: number {n}\n\nFrom the text\n>From a quote\n.dot\n\nend {n}\n".encode()
            for n in range(300)] + [b"Subject: twin\n\nequal\n"] * 2


def test_import_of_an_mbox(server, run, refused, account, tmp_path):
    source = mailbox.mbox(tmp_path / "mail.mbox")
    for number, text in enumerate(MESSAGES):
        message = mailbox.mboxMessage(text)
        message.set_from("a@example.org", time.gmtime(1_000_000_000 + number))
        message.set_flags("RO" if number % 2 else "F")
        source.add(message)
    source.close()
    arguments = ("import", "mbox", str(tmp_path / "mail.mbox"), "--account", account["address"])
    summary = run(*arguments, "--mailbox", "Old mail/Überall")
    assert (summary["imported"], summary["duplicates"], summary["skipped"]) == (302, 0, 0)
    again = run(*arguments, "--mailbox", "Old mail/Überall")
    assert (again["imported"], again["duplicates"]) == (0, 302)
    assert "302 messages imported" in server.command(*arguments).stdout
    client = mail.imap(server, account)
    found = mail.bodies(client)
    kept = re.compile(rb"^(Status|X-Status): [A-Z]*\r\n", re.M)
    assert [kept.sub(b"", text) for text in found] == \
        [text.replace(b"\n>From", b"\nFrom").replace(b"\n", b"\r\n") for text in MESSAGES]
    status, data = client.fetch("1:2", "(FLAGS INTERNALDATE)")
    assert b"\\Flagged" in data[0] and b"\\Seen" not in data[0] and b"\\Seen" in data[1]
    assert b" 9-Sep-2001 01:46:40 +0000" in data[0], data
    names = {entry["name"]: entry["messages"] for entry in run("mailbox", "list", account["username"])["items"]}
    assert names["Old mail/Überall"] == 302
    (tmp_path / "text").write_text("no mbox\n")
    assert "no mbox" in refused("import", "mbox", str(tmp_path / "text"), "--account", account["address"])
    assert "no such account" in refused(*arguments[:3], "--account", "nobody@demo.test")
    assert "absent" in refused("import", "mbox", str(tmp_path / "absent"), "--account", account["address"])


def test_import_of_a_maildir(server, run, refused, account, tmp_path):
    root = mailbox.Maildir(tmp_path / "Maildir")
    for number, text in enumerate(MESSAGES[:20]):
        message = mailbox.MaildirMessage(text)
        message.set_subdir("cur")
        message.set_flags("RS" if number % 2 else "")
        message.set_date(1_000_000_000 + number)
        root.add(message)
    for name in ("Sent.2024", "R&AOk-sum&AOk-"):
        folder = root.add_folder(name)
        for text in MESSAGES[20:25]:
            folder.add(mailbox.MaildirMessage(text))
    os.mkfifo(tmp_path / "Maildir/new/pipe")
    arguments = ("import", "maildir", str(tmp_path / "Maildir"), "--account", account["username"])
    done = server.command(*arguments, "--json", check=False)
    summary = json.loads(done.stdout)
    assert done.returncode == 1 and summary["skipped"] == 1 and "pipe" in summary["problems"][0]["what"]
    assert summary["mailboxes"] == {"INBOX": 20, "Sent/2024": 5, "Résumé": 5}
    (tmp_path / "Maildir/new/pipe").unlink()
    assert run(*arguments)["duplicates"] == 30
    client = mail.imap(server, account)
    equal_messages(mail.bodies(client), [text.replace(b"\n", b"\r\n") for text in MESSAGES[:20]])
    client.select("INBOX", readonly=True)
    assert len(client.search(None, "ANSWERED", "SEEN")[1][0].split()) == 10
    assert len(client.search(None, "ON", "9-Sep-2001")[1][0].split()) == 20
    assert run(*arguments, "--mailbox", "Below")["mailboxes"] == {"Below": 20, "Below/Sent/2024": 5, "Below/Résumé": 5}
    assert "no Maildir" in refused("import", "maildir", str(tmp_path), "--account", account["username"])


def test_import_goes_on_where_it_was_stopped(server, run, account, tmp_path):
    body = "x" * 20_000
    with open(tmp_path / "mail.mbox", "w") as source:
        for number in range(3000):
            source.write(f"From a@example.org Sat Jan  3 01:05:34 1996\nSubject: {number}\n\n{body}\n\n")
    command = ["import", "mbox", str(tmp_path / "mail.mbox"), "--account", account["username"], "--data", str(server.data)]
    process = subprocess.Popen([PROGRAM, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    mail.wait_for(lambda: run("account", "show", account["username"])["messages"] > 0, "the first messages")
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = run("account", "show", account["username"])["messages"]
    summary = run("import", "mbox", str(tmp_path / "mail.mbox"), "--account", account["username"])
    assert summary["imported"] + summary["duplicates"] == 3000 and summary["duplicates"] >= before > 0
    assert run("account", "show", account["username"])["messages"] == 3000


def test_import_stops_at_the_quota(run, refused, domain, tmp_path):
    account = run("account", "create", f"small@{domain['name']}", "--quota", "3000")["account"]["username"]
    with open(tmp_path / "mail.mbox", "w") as source:
        for number in range(10):
            source.write(f"From \nSubject: {number}\n\n{'x' * 1000}\n\n")
    assert "over quota" in refused("import", "mbox", str(tmp_path / "mail.mbox"), "--account", account)
    assert run("account", "show", account)["messages"] == 2
    run("account", "quota", account, "1M")
    assert run("import", "mbox", str(tmp_path / "mail.mbox"), "--account", account)["imported"] == 8


def test_one_message_through_the_api(server, run, account):
    path = f"/api/v1/accounts/{account['username']}/messages?id={'0a' * 16}&flags=%5CSeen%20work&date_ms=1000000000000"
    headers = {"content-type": "message/rfc822"}
    body = b"Subject: \xff\0\r\n\r\nbare\nline"
    status, first = local(server, "POST", path, body, headers)
    assert status == 200 and not first["duplicate"], first
    status, second = local(server, "POST", path, body, headers)
    assert second == first | {"duplicate": True}
    client = mail.imap(server, account)
    assert mail.bodies(client) == [body]
    _, data = client.fetch("1", "(FLAGS)")
    assert b"work" in data[0] and b"\\Seen" in data[0]
    base = f"/api/v1/accounts/{account['username']}/messages"
    for query, code in [("?id=zz", "invalid-value"), (f"?id={'0b' * 16}&mailbox=a*", "invalid-mailbox-name"),
                        (f"?id={'0b' * 16}&flags=a(b", "invalid-value"), ("", "invalid-query"), ("?id=x&y=z", "invalid-query")]:
        assert local(server, "POST", base + query, body, headers)[1]["code"] == code
    assert local(server, "POST", base + f"?id={'0b' * 16}", body, {"content-type": "text/plain"})[0] == 415
    limit = run("status") and local(server, "GET", "/api/v1/limits")[1]["message_max_bytes"]
    large = {"content-type": "message/rfc822", "content-length": str(limit + 1)}
    assert local(server, "POST", base + f"?id={'0b' * 16}", b"", large)[0] == 413
    batch = {"content-type": "application/x-estafette-messages"}
    for body in (b"{", b"{}\n", b'{"id":"%s","size":9}\nshort' % (b"0c" * 16), b"x" * 100_000):
        status, answer = local(server, "POST", base + "/batch", body, batch)
        assert (status, answer["code"]) == (422, "invalid-value"), answer


def test_rights_over_the_network(server, run, domain):
    name = domain["name"]
    administrator = (domain["username"], domain["password"])
    made = run("account", "create", f"owner@{name}")
    owner = (made["account"]["username"], made["password"])
    other = server.accounts[0]
    get = lambda login, path: network(server, login, "GET", f"/api/v1{path}")
    assert get(None, "/me")[0] == 401
    assert get((owner[0], "wrong"), "/me") == (401, {"code": "wrong-login", "message": "the username or the password is wrong"})
    assert get((f"owner@{name}", owner[1]), "/me")[1]["username"] == owner[0]
    assert get(owner, f"/accounts/{owner[0]}")[0] == 200
    for path in (f"/accounts/{other['username']}", "/accounts/nobody0001", f"/accounts/{domain['username']}",
                 f"/domains/{name}", "/status", "/queue", "/audit", "/plans", "/operators"):
        assert get(owner, path)[0] == 403, path
    assert [account["username"] for account in get(owner, "/accounts")[1]["items"]] == [owner[0]]
    assert get(administrator, f"/domains/{name}")[0] == 200
    assert [entry["name"] for entry in get(administrator, "/domains")[1]["items"]] == [name]
    assert {account["username"] for account in get(administrator, "/accounts")[1]["items"]} == {owner[0], administrator[0]}
    assert get(administrator, f"/audit?domain={name}")[0] == 200
    for path in (f"/domains/{server.domain}", f"/accounts/{other['username']}", "/status", "/queue", "/audit",
                 "/domains/not-here.test"):
        assert get(administrator, path)[0] == 403, path
    change = lambda login, path, body: network(server, login, "PATCH", f"/api/v1{path}", body)
    assert change(owner, f"/accounts/{owner[0]}", {"quota": "unlimited"})[0] == 403
    assert change(administrator, f"/accounts/{owner[0]}", {"real_name": "By the administrator"})[0] == 200
    assert change(administrator, f"/accounts/{owner[0]}", {"role": "operator"})[0] == 403
    assert change(administrator, f"/domains/{name}", {"plan": "large"})[0] == 403
    put = network(server, owner, "PUT", f"/api/v1/accounts/{owner[0]}/password", {"password": "my own one 77"})
    assert put[0] == 200
    assert get(owner, "/me")[0] == 401 and get((owner[0], "my own one 77"), "/me")[0] == 200
    entry = run("audit", "--domain", name, "--limit", "1")[0]
    assert (entry["actor"], entry["origin"], entry["action"]) == (owner[0], "127.0.0.1", "account.password")
    site = network(server, administrator, "DELETE", f"/api/v1/accounts/{owner[0]}?confirm={owner[0]}",
                   headers={"sec-fetch-site": "cross-site"})
    assert site == (403, {"code": "other-site", "message": "requests from pages of other sites are refused"})


def test_bad_requests(server):
    json_type = {"content-type": "application/json"}
    for method, path, body, headers, status, code in [
        ("GET", "/api/v1/nothing", None, None, 404, "no-such-path"),
        ("GET", "/nothing", None, None, 404, "no-such-path"),
        ("PUT", "/api/v1/plans", None, None, 405, "no-such-method"),
        ("POST", "/api/v1/plans", "{", json_type, 400, "invalid-json"),
        ("POST", "/api/v1/plans", "{}", json_type, 422, "invalid-json"),
        ("POST", "/api/v1/plans", '{"name":"x","colour":1}', json_type, 422, "invalid-json"),
        ("POST", "/api/v1/plans", '{"name":"x"}', {"content-type": "text/plain"}, 415, "invalid-json"),
        ("POST", "/api/v1/plans", '{"name":"%s"}' % ("x" * 2_000_000), json_type, 413, "invalid-json"),
        ("GET", "/api/v1/accounts?limit=x", None, None, 400, "invalid-query"),
        ("GET", "/api/v1/accounts/%ff", None, None, 400, "invalid-path"),
        ("GET", "/api/v1/aliases", None, None, 422, "invalid-value"),
        ("DELETE", "/api/v1/domains/" + server.domain, None, None, 422, "confirmation-needed"),
        ("POST", "/api/v1/accounts", '{"address":"no address"}', json_type, 422, "invalid-value"),
    ]:
        found, answer = local(server, method, path, body, headers)
        assert (found, answer["code"]) == (status, code), (method, path, found, answer)


def test_metrics_and_health(server):
    status, text = network(server, None, "GET", "/metrics")
    assert status == 200 and b"estafette_directory_entries" in text
    assert network(server, None, "GET", "/health/live")[0] == 200
    status, text = network(server, None, "GET", "/health/ready")
    assert status == 200 and json.loads(text) == {"ready": True, "takes_mail": True}


def test_the_socket_is_the_owners_alone(server):
    assert (server.data / "control.sock").stat().st_mode & 0o777 == 0o600


def test_pages_of_lists(server):
    seen, after = [], ""
    while True:
        status, page = local(server, "GET", f"/api/v1/accounts?limit=7&domain={server.domain}{after}")
        assert status == 200 and len(page["items"]) <= 7
        seen += [item["id"] for item in page["items"]]
        if not page["more"]:
            break
        after = f"&after={seen[-1]}"
    assert len(seen) == len(set(seen)) == len(server.accounts) + 1


def test_check_finds_what_is_damaged(new_server, tmp_path):
    node = new_server(accounts=2)
    account = node.accounts[0]
    # Random, so that it lies in the files as it is.
    lines = base64.encodebytes(os.urandom(20_000))
    with mail.smtp(node) as client:
        client.sendmail("a@elsewhere.test", [account["address"], node.accounts[1]["address"]],
                        b"Subject: x\r\n\r\n" + lines.replace(b"\n", b"\r\n"))
    running = node.command("check", check=False)
    assert running.returncode == 1 and "stop it first" in running.stderr
    node.stop()
    good = node.command("check", "--json")
    report = json.loads(good.stdout)
    assert report["good"] and report["problem_count"] == 0 and report["references"] == 2 and report["bodies"] == 1
    assert sum(shard["messages"] for shard in report["shards"]) == 2
    assert "all is well" in node.command("check").stdout
    node.start()
    node.stop()
    absent = subprocess.run([PROGRAM, "check", "--data", str(tmp_path / "absent")], capture_output=True, text=True)
    assert absent.returncode == 1 and "holds no store" in absent.stderr and not (tmp_path / "absent").exists()
    flipped = 0
    for path in sorted((node.data / "store").rglob("*")):
        if path.is_file() and path.suffix in (".log", ".sst", ".blob"):
            content = bytearray(path.read_bytes())
            at = content.find(lines.splitlines()[100][:40])
            if at >= 0:
                content[at] ^= 1
                path.write_bytes(content)
                flipped += 1
    assert flipped, "the message is nowhere in the store"
    bad = node.command("check", check=False)
    assert bad.returncode == 1 and "damage" in (bad.stdout + bad.stderr).lower(), (bad.stdout, bad.stderr)


def test_without_a_server(tmp_path):
    done = subprocess.run([PROGRAM, "status", "--data", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "no server answers" in done.stderr and "--data" in done.stderr


def test_a_folder_with_a_long_name(new_server, tmp_path, monkeypatch):
    long = tmp_path / ("long" * 40)
    long.mkdir()
    from conftest import Server
    node = Server(long, accounts=1).start()
    try:
        assert json.loads(node.command("status", "--json").stdout)["health"] == "good"
    finally:
        node.stop()


def test_settings_and_completions(tmp_path):
    def run(*arguments):
        return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[imap]\nline_max_bytes = 16384\n")
    bad.write_text("[imap]\nline_max_byte = 16384\n")
    assert run("config", "check", str(good)).returncode == 0
    wrong = run("config", "check", str(bad))
    assert wrong.returncode == 1 and "line_max_bytes" in wrong.stderr
    for shell in ("bash", "zsh", "fish"):
        done = run("completions", shell)
        assert done.returncode == 0 and "estafette" in done.stdout and "catch-all" in done.stdout
    assert run("plan", "create").returncode == 2
    assert run("--help").returncode == 0 and run("--version").stdout.startswith("estafette ")
    reader = subprocess.Popen([PROGRAM, "completions", "bash"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader.stdout.close()
    assert reader.wait(60) == 0 and reader.stderr.read() == b""
