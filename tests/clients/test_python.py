"""Python's smtplib, imaplib and poplib against the whole program."""

import imaplib
import poplib
import smtplib
import threading

import pytest

import mail

TEXT = b"From: <a@elsewhere.test>\r\nTo: <b@demo.test>\r\nSubject: hello\r\n\r\nA line\r\n.dots\r\n..more\r\n"


def test_mail_from_outside_is_read_by_imap_and_pop3(server, account):
    with mail.smtp(server) as client:
        client.starttls(context=server.tls())
        client.sendmail("a@elsewhere.test", [account["address"]], TEXT)
    imap = mail.imap(server, account)
    (message,) = mail.bodies(imap)
    assert mail.without_added(message) == TEXT
    assert message.startswith(b"Return-Path: <a@elsewhere.test>\r\n")
    pop = mail.pop3(server, account)
    count, size = pop.stat()
    assert count == 1 and size == len(message)
    assert b"\r\n".join(pop.retr(1)[1]) + b"\r\n" == message
    assert len(pop.uidl()[1]) == 1
    pop.dele(1)
    pop.quit()
    assert mail.bodies(imap) == []


def test_unknown_recipients_are_refused_at_rcpt(server):
    with mail.smtp(server) as client:
        client.ehlo()
        client.mail("a@elsewhere.test")
        code, text = client.rcpt(f"nobody-there@{server.domain}")
        assert code == 550 and text.startswith(b"5.1.1")
        code, text = client.rcpt("someone@elsewhere.test")
        assert code in (550, 554) and text.startswith(b"5.7.1")


def test_submission_takes_own_senders_only(server, account):
    other = server.accounts[0]
    with mail.submission(server, account) as client:
        client.sendmail(account["address"], [other["address"]], TEXT)
        code, text = client.mail(other["address"])
        assert code in (550, 553) and text.startswith(b"5.7.1")
    with smtplib.SMTP(*server.address("submission")) as client:
        client.starttls(context=server.tls())
        client.ehlo()
        code, text = client.mail(account["address"])
        assert code == 530 and text.startswith(b"5.7.0")


def test_login_needs_tls_and_the_right_password(server, account):
    with smtplib.SMTP(*server.address("submission")) as client:
        client.ehlo()
        assert not client.has_extn("auth")
    plain = imaplib.IMAP4(*server.address("imap"))
    assert "LOGINDISABLED" in plain.capabilities
    with pytest.raises(imaplib.IMAP4.error):
        plain.login(account["username"], account["password"])
    plain.starttls(ssl_context=server.tls())
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        plain.login(account["username"], "wrong")
    plain.login(account["address"], account["password"])
    plain.logout()
    host, port = server.address("pop3")
    pop = poplib.POP3(host, port)
    with pytest.raises(poplib.error_proto):
        pop.user(account["username"])
        pop.pass_(account["password"])
    pop = poplib.POP3(host, port)
    pop.stls(context=server.tls())
    pop.user(account["username"])
    pop.pass_(account["password"])
    pop.quit()


def test_lmtp_answers_for_each_recipient(server, account):
    other = server.accounts[0]
    with mail.lmtp(server) as client:
        # smtplib reads one answer after the text; LMTP gives one for each recipient (RFC 2033 §4.2).
        client.sendmail("a@elsewhere.test", [account["address"], other["address"]], TEXT)
        code, text = client.getreply()
        assert code == 250 and text.startswith(b"2.0.0")
        client.mail("a@elsewhere.test")
        code, text = client.rcpt(f"nobody-there@{server.domain}")
        assert code == 550 and text.startswith(b"5.1.1")
    assert mail.without_added(mail.bodies(mail.imap(server, account))[-1]) == TEXT


def test_several_pop3_sessions_at_once(server, account):
    with mail.lmtp(server) as client:
        for _ in range(3):
            client.sendmail("a@elsewhere.test", [account["address"]], TEXT)
    one, two = mail.pop3(server, account), mail.pop3(server, account)
    assert one.stat()[0] == two.stat()[0] == 3
    one.dele(1)
    two.dele(1)
    two.dele(2)
    one.quit()
    two.quit()
    assert mail.pop3(server, account).stat()[0] == 1


def test_flags_folders_copies_and_expunge(server, account):
    client = mail.imap(server, account)
    for name in ("A folder", "A folder/deeper one", "Entw&APw-rfe", "&ZeVnLIqe-"):
        assert client.create(f'"{name}"')[0] == "OK"
    names = [line.decode() for line in client.list()[1]]
    for name in ("INBOX", "Drafts", "Sent", "Junk", "Trash", "A folder/deeper one", "Entw&APw-rfe", "&ZeVnLIqe-"):
        assert any(line.endswith((f'"{name}"', f" {name}")) for line in names), (name, names)
    assert any("\\Sent" in line for line in names)
    client.append("INBOX", r"(\Flagged)", None, TEXT)
    client.append("INBOX", "($Label1)", None, TEXT)
    client.select("INBOX")
    assert b"\\Flagged" in client.fetch("1", "(FLAGS)")[1][0]
    assert b"$Label1" in client.fetch("2", "(FLAGS)")[1][0]
    assert client.copy("1:2", '"A folder/deeper one"')[0] == "OK"
    assert client.store("1", "+FLAGS", r"(\Deleted \Seen)")[0] == "OK"
    assert client.expunge()[1] == [b"1"]
    assert client.search(None, "ALL")[1] == [b"1"]
    assert client._simple_command("MOVE", "1", "Trash")[0] == "OK"
    assert client.search(None, "ALL")[1] == [b""]
    assert mail.bodies(client, "Trash") == [TEXT]
    assert mail.bodies(client, "A folder/deeper one") == [TEXT, TEXT]
    assert client.rename('"A folder"', '"Another/name"')[0] == "OK"
    assert mail.bodies(client, "Another/name/deeper one") == [TEXT, TEXT]
    assert client.delete('"Another/name/deeper one"')[0] == "OK"


def test_new_mail_reaches_an_idle_session(server, account):
    client = mail.imap(server, account)
    client.select("INBOX")
    client.send(b"x IDLE\r\n")
    assert client.readline().startswith(b"+")
    with mail.lmtp(server) as sender:
        sender.sendmail("a@elsewhere.test", [account["address"]], TEXT)
    client.sock.settimeout(5)
    assert client.readline().strip() == b"* 1 EXISTS"
    client.send(b"DONE\r\n")
    while not (line := client.readline()).startswith(b"x "):
        assert line.startswith(b"*")
    assert line.startswith(b"x OK")


def test_searching_finds_headers_and_text(server, account):
    client = mail.imap(server, account)
    client.append("INBOX", None, None, TEXT.replace(b"hello", b"=?utf-8?q?Gr=C3=BC=C3=9Fe?="))
    client.append("INBOX", None, None, TEXT)
    client.select("INBOX")
    assert client.search(None, "SUBJECT", "hello")[1] == [b"2"]
    client.literal = "GRÜSSE".encode().replace(b"SS", "ß".encode())
    assert client.search("UTF-8", "SUBJECT")[1] == [b"1"]
    assert client.search(None, "BODY", '"a line"')[1] == [b"1 2"]
    assert client.search(None, "FROM", "elsewhere.test", "UNSEEN")[1] == [b"1 2"]


def test_twenty_clients_at_once(server, account):
    def send(number):
        with mail.lmtp(server) as client:
            for turn in range(10):
                client.sendmail("a@elsewhere.test", [account["address"]], TEXT + b"%d %d\r\n" % (number, turn))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = mail.bodies(mail.imap(server, account))
    assert len(found) == 200 and len(set(found)) == 200
