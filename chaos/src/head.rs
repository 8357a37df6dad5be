//! Of what, where and when a report is.

use serde::Serialize;
use std::fmt;
use std::process::Command;

/// See the head of this module.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Head {
    /// The day (UTC).
    pub(crate) date: Option<String>,
    /// The commit that was tried, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
    /// Processors, their kind, and the kernel.
    pub(crate) machine: String,
}

impl Head {
    /// Asks the machine; without a commit, the folder where this runs.
    pub(crate) fn read(commit: Option<&str>) -> Head {
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let model = model.map_or("unknown", |(_, name)| name);
        Head {
            date: said("date", &["-u", "+%F"]),
            commit: commit.map(str::to_owned).or_else(|| said("git", &["rev-parse", "--short", "HEAD"])),
            machine: format!("{processors} processors ({model}), Linux {}", kernel.trim()),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        let (date, commit) = (or_unknown(&self.date), or_unknown(&self.commit));
        write!(f, "{date}, commit {commit}; {}", self.machine)
    }
}

/// What a program says in one line, if it ends well.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_is_given_is_told() {
        let head = Head::read(Some("abc1234"));
        assert!(head.to_string().contains(", commit abc1234; "), "{head}");
        assert!(Head::default().to_string().contains("commit unknown"));
    }
}
