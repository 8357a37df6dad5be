//! `/accounts/{account}/messages`: mail from elsewhere, once each.
//!
//! A message comes with an identifier that the account never forgets, so sending it again adds nothing. A batch is
//! added in its order, all or none.

use super::caller::Caller;
use super::extract::{Named, Params};
use super::{Api, Failure, IMPORT_ROOM_KIB};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use bytes::{Buf, Bytes};
use estafette_directory::Refusal;
use estafette_mailbox::{
    AccountRef, Action, DeliveryId, Flags, Imported, Keyword, MailboxName, NewMessage, Response, SystemFlags,
};
use estafette_raft::NewBody;
use estafette_storage::BodyHash;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::SemaphorePermit;

/// Messages of one batch.
pub(super) const BATCH_MESSAGES_MAX: usize = 256;
/// Bytes of a batch beside those of one largest message.
const BATCH_MORE_BYTES: u64 = 8 * 1024 * 1024;
/// The line before each message of a batch.
const BATCH_LINE_MAX_BYTES: usize = 64 * 1024;
/// For a body to come whole.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);
/// Flags and keywords of one message.
const FLAGS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneParams {
    #[serde(default = "inbox")]
    mailbox: String,
    /// Parted by spaces.
    #[serde(default)]
    flags: String,
    date_ms: Option<i64>,
    /// 32 hexadecimal digits.
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchParams {
    #[serde(default = "inbox")]
    mailbox: String,
}

/// The line before a message of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchLine {
    id: String,
    #[serde(default)]
    flags: Vec<String>,
    date_ms: Option<i64>,
    size: u64,
}

fn inbox() -> String {
    "INBOX".to_owned()
}

/// The most bytes of a batch.
pub(super) fn batch_max_bytes(api: &Api) -> u64 {
    api.engine.config.smtp.message_max_bytes.saturating_add(BATCH_MORE_BYTES)
}

pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    Named(account): Named<String>,
    Params(params): Params<OneParams>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let (at, quota) = target(&api, caller, &account)?;
    let name = MailboxName::parse(&params.mailbox)?;
    let id = import_id(&params.id)?;
    let flags = flags(params.flags.split(' ').filter(|flag| !flag.is_empty()))?;
    let limit = api.engine.config.smtp.message_max_bytes;
    let (body, _room) = body(&api, request, "message/rfc822", limit).await?;
    let message = Message { id, flags, date_ms: params.date_ms, body };
    let imported = import(&api, at, name, quota, vec![message]).await?;
    imported.first().map(shown).map(Json).ok_or(Failure::Unexpected)
}

pub(super) async fn batch(
    State(api): State<Api>,
    caller: Caller,
    Named(account): Named<String>,
    Params(params): Params<BatchParams>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let (at, quota) = target(&api, caller, &account)?;
    let name = MailboxName::parse(&params.mailbox)?;
    let kind = "application/x-estafette-messages";
    let (body, _room) = body(&api, request, kind, batch_max_bytes(&api)).await?;
    let messages = parse_batch(body, api.engine.config.smtp.message_max_bytes)?;
    let imported = import(&api, at, name, quota, messages).await?;
    Ok(Json(json!({ "items": imported.iter().map(shown).collect::<Vec<_>>() })))
}

fn shown(imported: &Imported) -> Value {
    json!({
        "uid": imported.delivered.uid.value(),
        "uid_validity": imported.delivered.uid_validity.0.get(),
        "duplicate": imported.duplicate,
    })
}

/// The account whose mailboxes take the messages, and its quota.
fn target(api: &Api, caller: Caller, name: &str) -> Result<(AccountRef, Option<u64>), Failure> {
    let account = caller.account(&api.directory(), name)?;
    let shard = account.shard.filter(|_| account.services.mailbox).ok_or(Refusal::NoMailbox)?;
    if !api.engine.takes_mail() {
        return Err(Failure::DiskFull);
    }
    Ok((AccountRef { shard, account: account.id }, account.quota_bytes))
}

pub(super) struct Message {
    id: DeliveryId,
    flags: Flags,
    date_ms: Option<i64>,
    pub(super) body: Bytes,
}

async fn import(
    api: &Api,
    at: AccountRef,
    name: MailboxName,
    quota: Option<u64>,
    messages: Vec<Message>,
) -> Result<Vec<Imported>, Failure> {
    let mut bodies: Vec<NewBody> = Vec::with_capacity(messages.len());
    let mut list = Vec::with_capacity(messages.len());
    for Message { id, flags, date_ms, body } in messages {
        let size = body.len() as u64;
        let chunks = vec![body];
        let hash = BodyHash::of(&chunks);
        list.push((id, NewMessage { flags, internal_date_ms: date_ms, size, body: hash }));
        if !bodies.iter().any(|known| known.hash() == hash) {
            bodies.push(NewBody::named(hash, chunks));
        }
    }
    let action = Action::Import { name, messages: list, quota };
    match api.engine.mailbox(at, action, bodies).await?.1 {
        Response::Imported(imported) => {
            let fresh = imported.iter().filter(|one| !one.duplicate).count();
            metrics::counter!("estafette_imported_messages_total").increment(fresh as u64);
            Ok(imported)
        }
        Response::Refused(refusal) => Err(refusal.into()),
        _ => Err(Failure::Unexpected),
    }
}

/// The whole body, when it is of the right kind and not too large. All bodies share one room until they are stored.
async fn body<'a>(
    api: &'a Api,
    request: Request,
    kind: &'static str,
    limit: u64,
) -> Result<(Bytes, SemaphorePermit<'a>), Failure> {
    let announced = announced(request.headers(), kind, limit)?;
    let room = usize::try_from(announced / 1024).unwrap_or(usize::MAX).clamp(1, IMPORT_ROOM_KIB);
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    let room = api.import_room.acquire_many(room).await.map_err(|_| Failure::Unexpected)?;
    Ok((collect(request.into_body(), limit).await?, room))
}

/// The length that the header announces; the limit when it announces none.
fn announced(headers: &HeaderMap, kind: &'static str, limit: u64) -> Result<u64, Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let given = text(header::CONTENT_TYPE).unwrap_or_default();
    if !given.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind)) {
        return Err(Failure::ContentType { wanted: kind });
    }
    let length = text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok()).unwrap_or(limit);
    if length > limit { Err(Failure::TooLarge { limit }) } else { Ok(length) }
}

async fn collect(body: Body, limit: u64) -> Result<Bytes, Failure> {
    let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    match tokio::time::timeout(BODY_TIMEOUT, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::TooLarge { limit }),
        Ok(Err(_)) | Err(_) => Err(Failure::BodyBroken),
    }
}

pub(super) fn parse_batch(mut body: Bytes, message_max: u64) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        if messages.len() == BATCH_MESSAGES_MAX {
            return Err(Failure::field("batch", format!("more than {BATCH_MESSAGES_MAX} messages")));
        }
        let end = body.iter().take(BATCH_LINE_MAX_BYTES).position(|byte| *byte == b'\n');
        let line = body.split_to(end.ok_or_else(|| Failure::field("batch", "a line that does not end"))?);
        body.advance(1);
        let line: BatchLine =
            serde_json::from_slice(&line).map_err(|error| Failure::field("batch", error))?;
        if line.size > message_max {
            return Err(Failure::TooLarge { limit: message_max });
        }
        let size = usize::try_from(line.size).unwrap_or(usize::MAX);
        if size > body.len() {
            return Err(Failure::field("batch", "ends within a message"));
        }
        messages.push(Message {
            id: import_id(&line.id)?,
            flags: flags(line.flags.iter().map(String::as_str))?,
            date_ms: line.date_ms,
            body: body.split_to(size),
        });
    }
    Ok(messages)
}

pub(super) fn import_id(text: &str) -> Result<DeliveryId, Failure> {
    let bad = || Failure::field("id", "must be 32 hexadecimal digits");
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let number = u128::from_str_radix(text, 16).map_err(|_| bad())?;
    Ok(DeliveryId { message: number.to_be_bytes(), recipient: 0 })
}

/// `\Recent` is nobody's to set and passed over (RFC 3501 §2.3.2).
pub(super) fn flags<'a>(names: impl Iterator<Item = &'a str>) -> Result<Flags, Failure> {
    let mut flags = Flags::default();
    for name in names.take(FLAGS_MAX) {
        let system = SystemFlags::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        if let Some((flag, _)) = system {
            flags.system = flags.system.with(*flag);
        } else if !name.eq_ignore_ascii_case("\\Recent") {
            let keyword = Keyword::parse(name)
                .map_err(|error| Failure::field("flags", format!("'{name}': {error}")))?;
            if !flags.keywords.contains(&keyword) {
                flags.keywords.push(keyword);
            }
        }
    }
    Ok(flags)
}
