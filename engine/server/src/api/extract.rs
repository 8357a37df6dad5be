//! What handlers take out of requests, with refusals in JSON, and small kinds of values.

use super::Failure;
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use estafette_directory::{Destination, Directory, PAGE_MAX, QuotaChoice, Refusal};
use estafette_types::{Address, LocalPart};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// For a body of JSON to come whole.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body of JSON.
pub(super) struct Input<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Input<T>, Failure> {
        let reading = tokio::time::timeout(BODY_TIMEOUT, Json::from_request(request, state));
        let body: Result<Json<T>, JsonRejection> = reading.await.map_err(|_| Failure::BodyBroken)?;
        Ok(Input(body?.0))
    }
}

/// The query.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Failure> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        Ok(Params(query?.0))
    }
}

/// The names in the path.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named<T>, Failure> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        Ok(Named(path?.0))
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListParams {
    /// Only those of this domain.
    pub(super) domain: Option<String>,
    /// Only those with this text in them.
    pub(super) search: String,
    /// Only those after this identifier.
    pub(super) after: Option<u64>,
    /// At most so many.
    pub(super) limit: Option<usize>,
}

impl ListParams {
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)
    }
}

/// The name of what is to be deleted, once more.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Confirmation {
    confirm: String,
}

impl Confirmation {
    pub(super) fn check(&self, name: &str) -> Result<(), Failure> {
        if self.confirm.eq_ignore_ascii_case(name) {
            Ok(())
        } else {
            Err(Failure::Unconfirmed { name: name.to_owned() })
        }
    }
}

/// Tells a value that is null from one that is not there.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// A quota: bytes, `"default"` or `"unlimited"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum QuotaInput {
    Bytes(u64),
    Word(QuotaWord),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum QuotaWord {
    Default,
    Unlimited,
}

impl From<QuotaInput> for QuotaChoice {
    fn from(input: QuotaInput) -> QuotaChoice {
        match input {
            QuotaInput::Bytes(bytes) => QuotaChoice::Bytes(bytes),
            QuotaInput::Word(QuotaWord::Default) => QuotaChoice::Default,
            QuotaInput::Word(QuotaWord::Unlimited) => QuotaChoice::Unlimited,
        }
    }
}

pub(super) fn address(field: &'static str, text: &str) -> Result<Address, Failure> {
    Address::parse(text).map_err(|error| Failure::field(field, format!("'{text}': {error}")))
}

/// A local part, or the address that begins with it.
pub(super) fn local_part(field: &'static str, text: &str) -> Result<LocalPart, Failure> {
    if text.contains('@') {
        return address(field, text).map(|address| address.local);
    }
    LocalPart::parse(text).map_err(|error| Failure::field(field, format!("'{text}': {error}")))
}

pub(super) fn destinations(directory: &Directory, texts: &[String]) -> Result<Vec<Destination>, Refusal> {
    texts.iter().map(|text| directory.destination(text)).collect()
}
