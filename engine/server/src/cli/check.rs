//! `estafette check`: verifies all that a node has stored, while it does not run.
//!
//! Every row of the directory, the mailboxes and the queue is held against the others, every body against its hash,
//! every counter of references against the rows that refer. What is wrong is told, never mended. Opening the store
//! finishes what its log says, as at any start; the check itself writes nothing.

use super::{CliError, Context};
use clap::Args;
use estafette_directory::{Directory, StoreRows};
use estafette_storage::{Problem, Progress, Settings, Store, View};
use estafette_types::ShardId;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::Path;

/// Where the store lies in the data folder.
const STORE: &str = "store";
/// Problems that are spelled out for people; `--json` has all that were kept.
const SHOWN_MAX: usize = 100;

#[derive(Args, Debug)]
pub(super) struct CheckArguments {}

/// What was found in all parts.
#[derive(Default)]
struct Findings {
    shards: Vec<Value>,
    problems: Vec<Value>,
    count: u64,
}

impl Findings {
    fn add(&mut self, part: &str, place: String, what: String) {
        self.problems.push(json!({ "part": part, "place": place, "what": what }));
    }
}

impl CheckArguments {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let store = open(&context.data)?;
        let view = store.view();
        let directory = Directory::load(&StoreRows(&view))?;
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg}"));
        let mut findings = Findings::default();
        let mut references = Vec::new();
        for shard in directory.shards() {
            bar.set_message(format!("rows of shard {shard}"));
            check_shard(&view, *shard, &mut findings, &mut references)?;
        }
        bar.set_style(style("{bar:40} {pos}/{len} messages  {msg}"));
        bar.set_message("bodies and references");
        let report = view.verify(references.into_iter().map(Ok), &mut |progress: Progress| {
            bar.set_length(progress.bodies_estimated);
            bar.set_position(progress.bodies);
        })?;
        bar.finish_and_clear();
        findings.count += report.problem_count;
        for problem in &report.problems {
            let (place, what) = body_problem(problem);
            findings.add("body", place, what);
        }
        let (domains, accounts, aliases) = directory.counts();
        let value = json!({
            "good": findings.count == 0,
            "directory": { "domains": domains, "accounts": accounts, "aliases": aliases },
            "shards": findings.shards,
            "bodies": report.bodies,
            "body_bytes": report.bytes,
            "references": report.references,
            "holds": report.holds,
            "under_way": report.under_way,
            "problem_count": findings.count,
            "problems": findings.problems,
        });
        print(context, &value, &findings)?;
        if findings.count == 0 { Ok(()) } else { Err(CliError::Damaged { count: findings.count }) }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn open(data: &Path) -> Result<Store, CliError> {
    let folder = data.join(STORE);
    // Opening would make a store where there is none.
    let empty = std::fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none());
    if empty {
        return Err(CliError::NoStore { data: data.to_owned() });
    }
    match Store::open(&folder, Settings::default()) {
        Err(estafette_storage::Error::Locked { .. }) => Err(CliError::Running { data: data.to_owned() }),
        opened => Ok(opened?),
    }
}

fn check_shard(
    view: &View,
    shard: ShardId,
    findings: &mut Findings,
    references: &mut Vec<(u32, estafette_storage::BodyHash)>,
) -> Result<(), CliError> {
    let mut note = |hash, _| references.push((shard.0, hash));
    let mail = estafette_mailbox::check(view, shard, &mut note)?;
    findings.count += mail.problem_count;
    for problem in mail.problems {
        findings.add("mailbox", problem.key.to_string(), problem.what);
    }
    let queue = estafette_delivery::queue::check(view, shard, &mut note)?;
    findings.count += queue.problem_count;
    for problem in queue.problems {
        findings.add("queue", problem.key.to_string(), problem.what);
    }
    findings.shards.push(json!({
        "shard": shard.0,
        "queue_items": queue.items,
        "accounts": mail.accounts,
        "mailboxes": mail.mailboxes,
        "messages": mail.messages,
        "bytes": mail.bytes,
        "rows": mail.rows + queue.rows,
    }));
    Ok(())
}

fn body_problem(problem: &Problem) -> (String, String) {
    match problem {
        Problem::Damaged { hash, reason } => (hash.to_string(), format!("damaged: {reason}")),
        Problem::ToFetch { hash } => {
            (hash.to_string(), "it is not here yet, and is to be fetched from another node".to_owned())
        }
        Problem::Missing { hash, scope: Some(shard) } => {
            (hash.to_string(), format!("shard {shard} refers to it, but it is not there"))
        }
        Problem::Missing { hash, scope: None } => {
            (hash.to_string(), "an entry of the log names it, but it is not there".to_owned())
        }
        Problem::WrongCount { hash, scope, stored, counted } => {
            let what = format!("shard {scope} counts {stored} references, {counted} were found");
            (hash.to_string(), what)
        }
        Problem::Unnamed { hash, bytes } => {
            (hash.to_string(), format!("nothing refers to it, and its {bytes} bytes are not to be collected"))
        }
        Problem::StrayChunk { key } => (
            estafette_mailbox::HexKey(key.clone()).to_string(),
            "a piece of a body that is not there".to_owned(),
        ),
        Problem::Unreadable { family, reason } => {
            (format!("family {family}"), format!("rows cannot be read: {reason}"))
        }
        other => (String::new(), format!("{other:?}")),
    }
}

fn print(context: &Context, value: &Value, findings: &Findings) -> Result<(), CliError> {
    let sum = |key: &str| {
        findings.shards.iter().filter_map(|shard| shard.get(key)).filter_map(Value::as_u64).sum::<u64>()
    };
    let sentence = format!(
        "{} accounts, {} mailboxes, {} messages, {} bodies: {}",
        sum("accounts"),
        sum("mailboxes"),
        sum("messages"),
        value.get("bodies").and_then(Value::as_u64).unwrap_or(0),
        if findings.count == 0 { "all is well" } else { "damaged" }
    );
    context.output.done(value, &sentence)?;
    for problem in findings.problems.iter().take(SHOWN_MAX) {
        let text = |key| super::output::text(problem, key);
        context.output.line(&format!("{} {}: {}", text("part"), text("place"), text("what")))?;
    }
    match findings.count.saturating_sub(SHOWN_MAX as u64) {
        0 => Ok(()),
        more => context.output.line(&format!("… and {more} more")),
    }
}
