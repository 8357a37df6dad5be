//! `estafette audit`

use super::client::escape;
use super::output::{Column, list_of, moment, text};
use super::{CliError, Context};
use clap::Args;
use serde_json::Value;

#[derive(Args, Debug)]
pub(super) struct AuditArguments {
    /// Only of this domain
    #[arg(long)]
    domain: Option<String>,
    /// At most so many entries, the newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
}

const COLUMNS: [Column<'_>; 6] = [
    ("TIME (UTC)", |v| moment(v, "time_ms")),
    ("WHO", |v| text(v, "actor")),
    ("FROM", |v| text(v, "origin")),
    ("ACTION", |v| text(v, "action")),
    ("OBJECT", |v| text(v, "object")),
    ("CHANGES", changes),
];

fn changes(value: &Value) -> String {
    let one = |field: &Value| match (text(field, "before"), text(field, "after")) {
        (before, after) if before.is_empty() => format!("{}: {after}", text(field, "name")),
        (before, after) => format!("{}: {before} → {after}", text(field, "name")),
    };
    let fields = value.get("fields").and_then(Value::as_array);
    fields.map_or_else(String::new, |fields| fields.iter().map(one).collect::<Vec<_>>().join("; "))
}

impl AuditArguments {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut client = context.client().await?;
        let domain = self.domain.map_or_else(String::new, |domain| format!("&domain={}", escape(&domain)));
        let mut items: Vec<Value> = Vec::new();
        let mut left = self.limit;
        while left > 0 {
            let before = items.last().map_or_else(String::new, |last| {
                format!("&before_ms={}&before_sequence={}", text(last, "time_ms"), text(last, "sequence"))
            });
            let page = client.get(&format!("/audit?limit={}{before}{domain}", left.min(1000))).await?;
            let more = list_of(&page, "items");
            left = left.saturating_sub(more.len() as u64);
            let last = more.is_empty() || page.get("more") != Some(&Value::Bool(true));
            items.extend(more);
            if last {
                break;
            }
        }
        context.output.list(&items, &COLUMNS)
    }
}
