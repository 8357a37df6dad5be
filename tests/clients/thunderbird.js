// What the tests make Thunderbird do, in its own process, through the components that its windows use.
// Put before each script of thunderbird.py. What gives a promise is done when that is kept; the rest may take its time.

const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const folderFlag = Ci.nsMsgFolderFlags;

function server(key) {
  return MailServices.accounts.getIncomingServer(key);
}

// A folder of an account by its path of display names.
function folder(key, path) {
  let at = server(key).rootFolder;
  for (const name of path) {
    at = at.subFolders.find(child => child.name == name || child.localizedName == name);
    if (!at) {
      throw new Error(`no folder ${JSON.stringify(path)}: there are ${folders(key).map(JSON.stringify)}`);
    }
  }
  return at;
}

function folders(key, at = server(key).rootFolder, path = []) {
  return at.subFolders.flatMap(child => [[...path, child.name], ...folders(key, child, [...path, child.name])]);
}

function flagsOf(key, path) {
  const flags = folder(key, path).flags;
  return Object.keys(folderFlag).filter(name => flags & folderFlag[name]);
}

function messages(key, path) {
  return [...folder(key, path).messages].map(header => ({
    uid: header.messageKey,
    subject: header.mime2DecodedSubject,
    messageId: header.messageId,
    size: header.messageSize,
    read: header.isRead,
    flagged: header.isFlagged,
    keywords: header.getStringProperty("keywords").split(" ").filter(word => word),
    offline: Boolean(header.flags & Ci.nsMsgMessageFlags.Offline),
    token: header.storeToken,
  }));
}

// The file or folder of the profile in which a folder's messages are kept.
function storeOf(key, path) {
  return folder(key, path).filePath.path;
}

function unread(key, path) {
  return folder(key, path).getNumUnread(false);
}

function headers(at, uids) {
  return uids.map(uid => at.msgDatabase.getMsgHdrForKey(uid));
}

function failure(status) {
  const name = Object.keys(Cr).find(key => Cr[key] == status) ?? `0x${status.toString(16)}`;
  return new Error(`Thunderbird says ${name}`);
}

// Runs `action` with a listener of any kind that such actions take; ends when that is told of the end.
function heard(action) {
  return new Promise((resolve, reject) => {
    const end = status => (Components.isSuccessCode(status) ? resolve() : reject(failure(status)));
    action({
      QueryInterface: ChromeUtils.generateQI(["nsIUrlListener", "nsIMsgCopyServiceListener"]),
      OnStartRunningUrl() {},
      OnStopRunningUrl(_url, status) { end(status); },
      onStartCopy() {},
      onProgress() {},
      setMessageKey() {},
      getMessageId() { return null; },
      onStopCopy(status) { end(status); },
    });
  });
}

// Trusts a certificate authority, given as the base64 of its DER, for servers.
function trust(authority) {
  Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(authority, "C,,");
}

async function remember(origin, user, password) {
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init(origin, null, origin, user, password, "", "");
  await Services.logins.addLoginAsync(login);
}

// As a click on a folder: selects it and takes what is new; that comes later.
function open(key, path) {
  folder(key, path).updateFolder(null);
}

// As "Get messages": what is new in the inbox, and counts for other folders.
function check(key) {
  server(key).getNewMessages(folder(key, ["INBOX"]), null, null);
}

// By POP3; ends when all is there.
function take(key) {
  return heard(listener => MailServices.pop3.GetNewMail(null, listener, folder(key, ["Inbox"]), server(key)));
}

function download(key, path) {
  return heard(listener => folder(key, path).downloadAllForOffline(listener, null));
}

function mark(key, path, uids, { read, flagged, tagged, untagged }) {
  const at = folder(key, path);
  const chosen = headers(at, uids);
  if (read !== undefined) {
    at.markMessagesRead(chosen, read);
  }
  if (flagged !== undefined) {
    at.markMessagesFlagged(chosen, flagged);
  }
  if (tagged !== undefined) {
    at.addKeywordsToMessages(chosen, tagged);
  }
  if (untagged !== undefined) {
    at.removeKeywordsFromMessages(chosen, untagged);
  }
}

// Moves or copies messages to a folder, which may be another account's.
function transfer(key, from, uids, toKey, to, move) {
  const source = folder(key, from);
  return heard(listener =>
    MailServices.copy.copyMessages(source, headers(source, uids), folder(toKey, to), move, listener, null, false));
}

// The UIDs of the messages in which the server finds `text`.
function search(key, path, attribute, text) {
  const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
  session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder(key, path));
  const term = session.createTerm();
  term.attrib = Ci.nsMsgSearchAttrib[attribute];
  term.op = Ci.nsMsgSearchOp.Contains;
  const value = term.value;
  value.attrib = term.attrib;
  value.str = text;
  term.value = value;
  term.booleanAnd = true;
  session.appendTerm(term);
  const found = [];
  return new Promise((resolve, reject) => {
    session.registerListener({
      QueryInterface: ChromeUtils.generateQI(["nsIMsgSearchNotify"]),
      onNewSearch() {},
      onSearchHit(header) { found.push(header.messageKey); },
      onSearchDone(status) { Components.isSuccessCode(status) ? resolve(found) : reject(failure(status)); },
    });
    session.search(null);
  });
}

// The folders of the next four are there, renamed or gone later.
function create(key, path) {
  folder(key, path.slice(0, -1)).createSubfolder(path.at(-1), null);
}

function rename(key, path, name) {
  folder(key, path).rename(name, null);
}

function removeFolder(key, path) {
  folder(key, path).deleteSelf(null);
}

// Into the trash, as the key Delete does.
function remove(key, path, uids) {
  const at = folder(key, path);
  return heard(listener => at.deleteMessages(headers(at, uids), null, false, false, listener, false));
}

function emptyTrash(key) {
  return heard(listener => folder(key, ["Trash"]).emptyTrash(listener));
}

// Sends as the compose window does, or keeps as a draft; ends when the copy is in its folder.
function compose(identityKey, { to, subject, text, attachment, draft }) {
  const identity = MailServices.accounts.getIdentity(identityKey);
  const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
  fields.from = MailServices.headerParser.makeMimeHeader(
    [MailServices.headerParser.makeMailboxObject(identity.fullName, identity.email)]);
  fields.to = to;
  fields.subject = subject;
  if (attachment) {
    const file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
    file.initWithPath(attachment);
    const attached = Cc["@mozilla.org/messengercompose/attachment;1"].createInstance(Ci.nsIMsgAttachment);
    attached.name = file.leafName;
    attached.url = Services.io.newFileURI(file).spec;
    fields.addAttachment(attached);
  }
  const sender = Cc["@mozilla.org/messengercompose/send;1"].createInstance(Ci.nsIMsgSend);
  return new Promise((resolve, reject) => {
    const end = status => (Components.isSuccessCode(status) ? resolve() : reject(failure(status)));
    const listener = {
      QueryInterface: ChromeUtils.generateQI(["nsIMsgSendListener", "nsIMsgCopyServiceListener"]),
      onStartSending() {},
      onSendProgress() {},
      onStatus() {},
      onStopSending(_id, status) { if (!Components.isSuccessCode(status)) { end(status); } },
      onTransportSecurityError(_id, status) { end(status); },
      onGetDraftFolderURI() {},
      onSendNotPerformed() { reject(new Error("not sent")); },
      onStartCopy() {},
      onProgress() {},
      setMessageKey() {},
      getMessageId() { return null; },
      onStopCopy(status) { end(status); },
    };
    const mode = draft ? Ci.nsIMsgSend.nsMsgSaveAsDraft : Ci.nsIMsgSend.nsMsgDeliverNow;
    sender.createAndSendMessage(null, identity, null, fields, false, false, mode, null,
      "text/plain", text, null, null, listener, "", "", Ci.nsIMsgCompType.New).catch(reject);
  });
}
