//! What a request fails with: a status, a word for programs, words for people.

use crate::cluster::ClusterError;
use crate::engine::EngineError;
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use estafette_directory::Refusal;
use estafette_directory::password::{HashError, PasswordProblem};
use estafette_mailbox::{NameError, Refusal as MailRefusal};
use serde_json::json;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The engine did not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The mailboxes did not take it.
    #[error(transparent)]
    Mail(#[from] MailRefusal),
    /// The password may not be set.
    #[error(transparent)]
    Password(#[from] PasswordProblem),
    /// No name of a mailbox.
    #[error(transparent)]
    MailboxName(#[from] NameError),
    /// Hashing failed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A value is not of its kind.
    #[error("{field}: {reason}")]
    Field {
        /// The name of the value.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The body cannot be read as what it should be.
    #[error("{}", .0.body_text())]
    Json(#[from] JsonRejection),
    /// The query cannot be read.
    #[error("{}", .0.body_text())]
    Query(#[from] QueryRejection),
    /// The path cannot be read.
    #[error("{}", .0.body_text())]
    Path(#[from] PathRejection),
    /// The body did not come whole.
    #[error("the body did not come whole")]
    BodyBroken,
    /// The message is too large.
    #[error("the message has more than {limit} bytes")]
    TooLarge {
        /// The most bytes.
        limit: u64,
    },
    /// The body is of another kind than wanted.
    #[error("the body must be of the kind {wanted}")]
    ContentType {
        /// The kind.
        wanted: &'static str,
    },
    /// Something is to be deleted and its name was not repeated.
    #[error("this deletes {name} with all that is in it; repeat the name as 'confirm' to do it")]
    Unconfirmed {
        /// The name.
        name: String,
    },
    /// No credentials.
    #[error("log in with a username and a password")]
    LoginNeeded,
    /// Wrong credentials.
    #[error("the username or the password is wrong")]
    WrongLogin,
    /// The account may not log in.
    #[error("this account may not log in")]
    Barred,
    /// Too many failed logins.
    #[error("too many failed logins from this address; try later")]
    TooManyFailures,
    /// Other nodes cannot be asked whether the credentials are wrong.
    #[error("logins cannot be checked now; try again later")]
    LoginLater,
    /// A page of another site asks.
    #[error("requests from pages of other sites are refused")]
    OtherSite,
    /// No such path.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// No such item in the queue.
    #[error("there is no such item in the queue")]
    NoSuchItem,
    /// The path has no such method.
    #[error("this path does not take this method")]
    NoSuchMethod,
    /// The disk is nearly full.
    #[error("the disk is nearly full; no mail is taken")]
    DiskFull,
    /// The directory has no shards yet.
    #[error("the node is not ready; try again")]
    NotReady,
    /// The program broke its own rules.
    #[error("the node gave an unexpected answer")]
    Unexpected,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Engine(EngineError::Refused(refusal))
    }
}

impl From<estafette_delivery::Error> for Failure {
    fn from(error: estafette_delivery::Error) -> Failure {
        Failure::Engine(EngineError::Delivery(error))
    }
}

impl From<estafette_mailbox::Error> for Failure {
    fn from(error: estafette_mailbox::Error) -> Failure {
        Failure::Engine(EngineError::Mailbox(error))
    }
}

impl From<estafette_directory::Error> for Failure {
    fn from(error: estafette_directory::Error) -> Failure {
        Failure::Engine(EngineError::Directory(error))
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(_: tokio::task::JoinError) -> Failure {
        Failure::Unexpected
    }
}

impl Failure {
    pub(super) fn field(field: &'static str, reason: impl ToString) -> Failure {
        Failure::Field { field, reason: reason.to_string() }
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Failure::Engine(error) => engine_status(error),
            Failure::Mail(refusal) => mail_status(*refusal),
            Failure::Password(problem) => (StatusCode::UNPROCESSABLE_ENTITY, problem.code()),
            Failure::MailboxName(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-mailbox-name"),
            Failure::Field { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-value"),
            Failure::Json(rejection) => (rejection.status(), "invalid-json"),
            Failure::Query(rejection) => (rejection.status(), "invalid-query"),
            Failure::Path(rejection) => (rejection.status(), "invalid-path"),
            Failure::BodyBroken => (StatusCode::BAD_REQUEST, "body-broken"),
            Failure::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Failure::ContentType { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type"),
            Failure::Unconfirmed { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "confirmation-needed"),
            Failure::LoginNeeded => (StatusCode::UNAUTHORIZED, "login-needed"),
            Failure::WrongLogin => (StatusCode::UNAUTHORIZED, "wrong-login"),
            Failure::Barred => (StatusCode::FORBIDDEN, "barred"),
            Failure::TooManyFailures => (StatusCode::TOO_MANY_REQUESTS, "too-many-failures"),
            Failure::LoginLater => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Failure::OtherSite => (StatusCode::FORBIDDEN, "other-site"),
            Failure::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path"),
            Failure::NoSuchItem => (StatusCode::NOT_FOUND, "unknown-item"),
            Failure::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "no-such-method"),
            Failure::DiskFull => (StatusCode::SERVICE_UNAVAILABLE, "disk-full"),
            Failure::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
            Failure::Hash(_) | Failure::Unexpected => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

fn engine_status(error: &EngineError) -> (StatusCode, &'static str) {
    let full = (StatusCode::SERVICE_UNAVAILABLE, "disk-full");
    match error {
        EngineError::Refused(refusal) => (refusal_status(refusal), refusal.code()),
        EngineError::Cluster(ClusterError::Joined) => (StatusCode::CONFLICT, "is-cluster"),
        EngineError::Cluster(ClusterError::NotAdmitted(_)) => (StatusCode::CONFLICT, "no-cluster"),
        EngineError::Cluster(ClusterError::Advertised(_)) => (StatusCode::CONFLICT, "no-address"),
        EngineError::Raft(estafette_raft::Error::Full) => full,
        EngineError::Raft(estafette_raft::Error::TooLarge { .. }) => {
            (StatusCode::PAYLOAD_TOO_LARGE, "too-large")
        }
        EngineError::Delivery(error) if error.is_disk_full() => full,
        // The same request may be refused now, as what it asks for was done.
        EngineError::Raft(estafette_raft::Error::Interrupted { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown")
        }
        EngineError::Delivery(error) if error.is_uncertain() => {
            (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown")
        }
        EngineError::Raft(error) if !error.is_fatal() => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        EngineError::Delivery(error) if !error.is_fatal() => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotAllowed => StatusCode::FORBIDDEN,
        Refusal::UnknownAddress { .. } => StatusCode::NOT_FOUND,
        refusal if refusal.is_unknown() => StatusCode::NOT_FOUND,
        Refusal::NameTaken { .. }
        | Refusal::PrefixTaken { .. }
        | Refusal::PlanInUse { .. }
        | Refusal::HasSubdomains
        | Refusal::AdministratorNeeded { .. }
        | Refusal::LastOperator
        | Refusal::DefaultAddress { .. }
        | Refusal::PrimaryAddress
        | Refusal::ShardInUse { .. }
        | Refusal::IsCluster
        | Refusal::NoCluster
        | Refusal::NodeRemoved { .. }
        | Refusal::TokenUsed { .. }
        | Refusal::TokenExpired
        | Refusal::NodeInUse { .. }
        | Refusal::NodeDead { .. }
        | Refusal::LastNode
        | Refusal::AccountMoving { .. }
        | Refusal::NotMoving => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn mail_status(refusal: MailRefusal) -> (StatusCode, &'static str) {
    match refusal {
        MailRefusal::NoAccount => (StatusCode::NOT_FOUND, "unknown-account"),
        MailRefusal::NoMailbox => (StatusCode::NOT_FOUND, "unknown-mailbox"),
        MailRefusal::OverQuota => (StatusCode::UNPROCESSABLE_ENTITY, "over-quota"),
        MailRefusal::TooManyMailboxes => (StatusCode::UNPROCESSABLE_ENTITY, "too-many-mailboxes"),
        MailRefusal::MailboxFull => (StatusCode::UNPROCESSABLE_ENTITY, "mailbox-full"),
        MailRefusal::TooMuch => (StatusCode::UNPROCESSABLE_ENTITY, "too-many"),
        MailRefusal::Exists => (StatusCode::CONFLICT, "mailbox-exists"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-mailbox"),
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let message = if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %self, "a request failed");
            "something is wrong with the node; its log says what".to_owned()
        } else {
            self.to_string()
        };
        let mut response = (status, Json(json!({ "code": code, "message": message }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Estafette\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
