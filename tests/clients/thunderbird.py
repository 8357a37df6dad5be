"""Drives Thunderbird without a screen: a profile made by hand, and Marionette, its port for automation.

Marionette's messages are JSON after their length and a colon: `[0, number, command, parameters]` are answered with
`[1, number, error, result]`. Scripts run in Thunderbird's own context, after the functions of thunderbird.js.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

START_SECONDS_MAX = 30
SCRIPT_SECONDS_MAX = 60
STOP_SECONDS_MAX = 15
FUNCTIONS = pathlib.Path(__file__).with_name("thunderbird.js").read_text()

PREFERENCES = {
    "marionette.port": 0,
    # Nothing of its own to the network, nothing that asks.
    "app.update.enabled": False,
    "app.normandy.enabled": False,
    "browser.region.network.url": "",
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.healthreport.uploadEnabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.manage-offline-status": False,
    "security.OCSP.enabled": 0,
    "services.settings.server": "",
    "toolkit.telemetry.enabled": False,
    "mail.inappnotifications.enabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.rights.version": 1,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "mailnews.start_page_override.mstone": "ignore",
    "mail.collect_email_address_outgoing": False,
    "mail.warn_on_send_accel_key": False,
    "mailnews.wraplength": 0,
    # Mail comes when a test asks for it, or by IDLE.
    "mail.biff.play_sound": False,
    "mailnews.confirm.moveFoldersToTrash": False,
    "network.proxy.type": 0,
    "mail.biff.show_alert": False,
    "mail.server.default.autosync_offline_stores": False,
    # What it says by SMTP and POP3 goes to its standard output.
    "mailnews.smtp.loglevel": "All",
    "mailnews.pop3.loglevel": "All",
    "devtools.console.stdout.chrome": True,
    "browser.dom.window.dump.enabled": True,
}
# Thunderbird's numbers for the kinds of TLS, and for a password sent as it is.
STARTTLS, TLS = 2, 3
PASSWORD = 3
MAILDIR = "@mozilla.org/msgstore/maildirstore;1"
MBOX = "@mozilla.org/msgstore/berkeleystore;1"

# A line of the wire in the log: the connection, its state, who speaks, and what is said.
WIRE = re.compile(r"I/IMAP ([0-9a-f]+):localhost:.*?:(SendData|CreateNewLineFromSocket): (.*)$")
WHOSE = re.compile(r"I/IMAP ([0-9a-f]+):localhost:.*?:ProcessCurrentURL: ?imap://([^@/]+)@")
TAGGED = re.compile(r"(\d+) (OK|NO|BAD)\b")
# Both of other protocols, on its standard output.
SMTP_SAID = re.compile(r'mailnews\.smtp: "([CS]): (.*)"$')
POP3_SAID = re.compile(r'pop3\.server\d+\.\d+: "([CS]): (.*)"$')


class Wire:
    """What Thunderbird and the server say to each other by IMAP, as its log tells it while it runs."""

    def __init__(self, path):
        self.path = path
        self.read = 0
        self.part = b""
        self.lines = []
        self.users = {}
        self.waiting = {}
        self.refused = []

    def said(self):
        """All lines until now: triples of the connection, `C` or `S`, and the line."""
        if self.path.exists():
            with open(self.path, "rb") as log:
                log.seek(self.read)
                new = log.read()
            self.read += len(new)
            *whole, self.part = (self.part + new).split(b"\n")
            for line in whole:
                self.take(line.decode(errors="replace").rstrip("\r"))
        return self.lines

    def take(self, line):
        """Takes in a line of the log."""
        found = WIRE.search(line)
        if found is None:
            if found := WHOSE.search(line):
                self.users[found.group(1)] = found.group(2)
            return
        connection, way, said = found.groups()
        self.lines.append((connection, "C" if way == "SendData" else "S", said))
        if way == "SendData":
            if re.match(r"\d+ ", said):
                self.waiting[connection, said.split(" ")[0]] = said
        elif (answer := TAGGED.match(said)) and (connection, answer.group(1)) in self.waiting:
            command = self.waiting.pop((connection, answer.group(1)))
            if answer.group(2) != "OK":
                self.refused.append((command, said))
        elif said.startswith("* BAD ") and not any(
                on == connection and "fetch" in command for (on, _), command in self.waiting.items()):
            # While it fetches, such a line may be a line of a message.
            self.refused.append(("", said))

    def idles(self, user, mailbox):
        """The connection on which a user idles in a mailbox, if there is one."""
        selected, state = {}, {}
        for connection, way, said in self.said():
            if way == "C" and (name := re.match(r'\d+ select "(.*?)"', said)):
                selected[connection] = name.group(1)
            if way == "C" or said.startswith("+ "):
                state[connection] = (way, said)
        return next((connection for connection, (way, said) in state.items()
                     if way == "S" and "idling" in said and selected.get(connection) == mailbox
                     and self.users.get(connection) == user), None)


def account_preferences(number, server, account):
    """Those of the account with this number, counted from 1."""
    name = f"account{number}"
    by_imap = {
        "offline_download": True, "use_idle": True, "delete_model": 1, "autosync_offline_stores": False,
        "max_cached_connections": 3,
    }
    values = {
        f"mail.account.{name}": {"server": f"server{number}", "identities": f"id{number}"},
        f"mail.identity.id{number}": {
            "fullName": "A tester", "useremail": account.address, "smtpServer": f"smtp{number}", "valid": True,
            "compose_html": False, "fcc": True, "fcc_folder_picker_mode": "0", "drafts_folder_picker_mode": "0",
        },
        f"mail.server.server{number}": {
            "type": account.kind, "hostname": "localhost", "port": server.address(account.reading[0])[1], "name": name,
            "userName": account.username, "socketType": account.reading[1], "authMethod": PASSWORD,
            "storeContractID": account.store, "login_at_startup": False, "check_new_mail": False, "spamLevel": 0,
        } | (by_imap if account.kind == "imap" else {}) | account.preferences,
        f"mail.smtpserver.smtp{number}": {
            "type": "smtp", "hostname": "localhost", "port": server.address(account.submission[0])[1],
            "username": account.username, "try_ssl": account.submission[1], "authMethod": PASSWORD,
        },
    }
    return {f"{branch}.{leaf}": value for branch, leaves in values.items() for leaf, value in leaves.items()}


class Account:
    """An account of the server as it is set up in Thunderbird; `thunderbird` is set once that has it."""

    def __init__(self, account, reading, submission, store, preferences=None):
        """`reading` and `submission`: a listener's name and a kind of TLS. `preferences`: more of those of the server."""
        self.given = account
        self.address, self.username, self.password = account["address"], account["username"], account["password"]
        self.reading = reading
        self.kind = "pop3" if reading[0].startswith("pop3") else "imap"
        self.submission = submission
        self.store = store
        self.preferences = preferences or {}
        self.thunderbird = None
        self.number = None

    def call(self, function, *given):
        """The value of a function of thunderbird.js that works on this account."""
        return self.thunderbird.run(f"{function}(...given)", f"server{self.number}", *given)

    def compose(self, **message):
        """Sends a message, or keeps a draft: the names of `compose` in thunderbird.js."""
        return self.thunderbird.run("compose(...given)", f"id{self.number}", message)

    def kept(self, path):
        """The messages of a folder that are kept in the profile: their bytes by UID."""
        folder = pathlib.Path(self.call("storeOf", path))
        messages = [message for message in self.call("messages", path) if message["offline"] or self.kind == "pop3"]
        if self.store == MAILDIR:
            return {message["uid"]: without_status((folder / "cur" / message["token"]).read_bytes()) for message in messages}
        whole = folder.read_bytes()
        return {message["uid"]: without_status(from_mbox(whole, int(message["token"]))) for message in messages}


def without_status(message):
    """A message without the lines that Thunderbird puts before it."""
    return re.sub(rb"\A((X-Mozilla-[A-Za-z0-9-]+|X-Account-Key|X-UIDL):[^\n]*\n)+", b"", message)


def from_mbox(whole, start):
    """The message at this offset, without the quoting of `From ` and the empty line after it."""
    begin = whole.index(b"\n", start) + 1
    assert whole[start:begin].startswith(b"From - "), whole[start:begin]
    end = whole.find(b"\nFrom - ", begin - 1)
    message = whole[begin:] if end < 0 else whole[begin:end + 1]
    return re.sub(rb"^>(>*From )", rb"\1", re.sub(rb"\r?\n\Z", b"", message), flags=re.MULTILINE)


class Thunderbird:
    """A running Thunderbird with a profile of its own."""

    def __init__(self, folder, server, accounts):
        """Makes the profile in `folder`; `accounts` are those that it gets."""
        self.folder = pathlib.Path(folder)
        self.profile = self.folder / "profile"
        self.profile.mkdir(parents=True)
        self.output = self.folder / "output.txt"
        self.wire = Wire(self.folder / "imap.moz_log")
        self.server = server
        self.accounts = accounts
        self.process = None
        self.port = None
        self.asked = 0
        numbers = range(1, len(accounts) + 1)
        local = len(accounts) + 1
        values = dict(PREFERENCES)
        for number, account in zip(numbers, accounts):
            account.thunderbird, account.number = self, number
            values |= account_preferences(number, server, account)
        values |= {
            "mail.accountmanager.accounts": ",".join(f"account{number}" for number in [*numbers, local]),
            "mail.accountmanager.defaultaccount": "account1",
            "mail.accountmanager.localfoldersserver": f"server{local}",
            f"mail.account.account{local}.server": f"server{local}",
            f"mail.server.server{local}.type": "none",
            f"mail.server.server{local}.hostname": "Local Folders",
            f"mail.server.server{local}.name": "Local Folders",
            f"mail.server.server{local}.userName": "nobody",
            f"mail.server.server{local}.directory-rel": "[ProfD]Mail/Local Folders",
            "mail.smtpservers": ",".join(f"smtp{number}" for number in numbers),
            "mail.smtp.defaultserver": "smtp1",
        }
        (self.profile / "user.js").write_text(
            "".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in values.items()))

    def start(self):
        """Starts it and waits until it takes scripts."""
        active = self.profile / "MarionetteActivePort"
        active.unlink(missing_ok=True)
        environment = os.environ | {
            "HOME": str(self.folder), "MOZ_LOG": "IMAP:4,sync,append", "MOZ_LOG_FILE": str(self.wire.path.with_suffix("")),
            "MOZ_CRASHREPORTER_DISABLE": "1", "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                ["thunderbird", "--headless", "--no-remote", "--profile", str(self.profile), "--marionette",
                 "--remote-allow-system-access"],
                stdout=output, stderr=output, env=environment, start_new_session=True)
        end = time.monotonic() + START_SECONDS_MAX
        while not (active.exists() and active.read_text()):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Thunderbird did not start:\n{self.said()}")
            time.sleep(0.05)
        self.port = socket.create_connection(("127.0.0.1", int(active.read_text())), timeout=SCRIPT_SECONDS_MAX + 5)
        self.answers = self.port.makefile("rb")
        self.answer()
        self.ask("WebDriver:NewSession", {})
        self.ask("Marionette:SetContext", {"value": "chrome"})
        self.ask("WebDriver:SetTimeouts", {"script": SCRIPT_SECONDS_MAX * 1000})
        return self

    def set_up(self):
        """What a person does once: trusts the server's authority, and has the passwords remembered."""
        text = pathlib.Path(self.server.ca).read_text()
        for authority in re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END", text, re.DOTALL):
            self.run("trust(...given)", re.sub(r"\s", "", authority))
        for account in self.accounts:
            for scheme in ("imap" if account.kind == "imap" else "mailbox", "smtp"):
                self.run("remember(...given)", f"{scheme}://localhost", account.username, account.password)

    def answer(self):
        """The next message from its port."""
        length = b""
        while not length.endswith(b":"):
            byte = self.answers.read(1)
            if not byte:
                raise RuntimeError(f"Thunderbird closed its port:\n{self.said()}")
            length += byte
        return json.loads(self.answers.read(int(length[:-1])))

    def ask(self, command, parameters):
        """The result of a command of Marionette."""
        self.asked += 1
        message = json.dumps([0, self.asked, command, parameters]).encode()
        self.port.sendall(b"%d:%s" % (len(message), message))
        kind, number, error, result = self.answer()
        assert (kind, number) == (1, self.asked)
        if error is not None:
            raise RuntimeError(f"{error['error']}: {error['message']}\n{error['stacktrace']}")
        return result

    def run(self, expression, *given):
        """The value of an expression of JavaScript; `given` are the arguments."""
        script = f"{FUNCTIONS}\nconst given = arguments[0];\nreturn (async () => {expression})();"
        parameters = {"script": script, "args": [list(given)], "sandbox": "system", "newSandbox": True}
        return self.ask("WebDriver:ExecuteScript", parameters)["value"]

    def said(self):
        """The end of its standard output."""
        return self.output.read_text(errors="replace")[-20000:]

    def smtp(self):
        """What it and submission servers said to each other: pairs of `C` or `S` and a line."""
        return self.conversation(SMTP_SAID)

    def pop3(self):
        """The same of POP3, with the lines of messages."""
        return self.conversation(POP3_SAID)

    def conversation(self, pattern):
        told = []
        for line in self.output.read_text(errors="replace").splitlines():
            if found := pattern.search(line):
                told += [(found.group(1), part) for part in found.group(2).replace("\\r", "").split("\\n") if part]
        return told

    def stop(self):
        """Ends it, by force when it does not end by itself."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            if self.port is not None:
                self.ask("Marionette:Quit", {"flags": ["eForceQuit"]})
                self.process.wait(STOP_SECONDS_MAX)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            pass
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            if self.port is not None:
                self.port.close()
            self.port = None
