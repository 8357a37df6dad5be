//! The audit (SPEC D-18): who changed what, when, from where.
//!
//! Entries are rows in the order of the log's time, written in the transaction of the change itself.
//! They hold no passwords and no hashes, and names as they were then.

use crate::command::Origin;
use crate::error::Error;
use crate::rows::{RowSource, audit_range, read_audit};
use estafette_types::{AccountId, DomainId};
use serde::{Deserialize, Serialize};

/// Entries that one query gives at most.
pub const AUDIT_PAGE_MAX: usize = 1_000;
/// Entries that one query looks at; a query that is narrow goes on with `before`.
const AUDIT_SCAN_MAX: usize = 100_000;
/// Longest text of a field, in bytes; the rest is cut off.
const FIELD_MAX: usize = 1_000;
/// Most fields of an entry.
const FIELDS_MAX: usize = 100;

/// One change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// By the log, milliseconds since 1970.
    pub time_ms: u64,
    /// Counts up by one with each change.
    pub sequence: u64,
    /// Username, or `system`, or `console`.
    pub actor: String,
    /// The login, when it was one.
    pub actor_account: Option<AccountId>,
    /// From where.
    pub origin: Origin,
    /// [`crate::Change::code`].
    pub action: String,
    /// The name of what was changed.
    pub object: String,
    /// The domain it belongs to.
    pub domain: Option<DomainId>,
    /// What was changed.
    pub fields: Vec<AuditField>,
}

/// One thing that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditField {
    /// Its name.
    pub name: String,
    /// `None`: there was nothing.
    pub before: Option<String>,
    /// `None`: there is nothing now.
    pub after: Option<String>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only from this time on.
    pub from_ms: u64,
    /// Only older than the entry with this time and sequence: the last one of the page before.
    pub before: Option<(u64, u64)>,
    /// Only of this domain.
    pub domain: Option<DomainId>,
    /// At most [`AUDIT_PAGE_MAX`].
    pub limit: usize,
}

/// Entries, the newest first.
pub fn audit(rows: &dyn RowSource, query: &AuditQuery) -> Result<Vec<AuditEntry>, Error> {
    let limit = query.limit.min(AUDIT_PAGE_MAX);
    let mut entries = Vec::new();
    let mut seen = 0;
    if limit == 0 {
        return Ok(entries);
    }
    rows.scan(audit_range(query.from_ms, query.before), true, &mut |_, value| {
        let entry = read_audit(value)?;
        seen += 1;
        if query.domain.is_none() || query.domain == entry.domain {
            entries.push(entry);
        }
        Ok(entries.len() < limit && seen < AUDIT_SCAN_MAX)
    })?;
    Ok(entries)
}

/// Gathers the fields of an entry.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) object: String,
    pub(crate) domain: Option<DomainId>,
    pub(crate) fields: Vec<AuditField>,
}

impl Notes {
    /// Notes a field if it changed.
    pub(crate) fn changed<T: ToString + PartialEq>(
        &mut self,
        name: &str,
        before: Option<T>,
        after: Option<T>,
    ) {
        if before != after && self.fields.len() < FIELDS_MAX {
            let text = |value: Option<T>| value.map(|v| cut(v.to_string()));
            self.fields.push(AuditField { name: name.to_owned(), before: text(before), after: text(after) });
        }
    }

    /// Notes something new.
    pub(crate) fn set<T: ToString + PartialEq>(&mut self, name: &str, value: T) {
        self.changed(name, None, Some(value));
    }
}

fn cut(mut text: String) -> String {
    if text.len() > FIELD_MAX {
        let end = text.floor_char_boundary(FIELD_MAX);
        text.truncate(end);
        text.push('…');
    }
    text
}
