//! Asks before something is deleted for ever: the name has to be repeated.

use super::CliError;
use std::io::{BufRead, IsTerminal, Write};

/// Checks the name given with `--confirm`, or asks for it on a terminal. `what` names what goes.
pub(super) fn confirm(name: &str, what: &str, given: Option<String>) -> Result<(), CliError> {
    let unconfirmed = || CliError::Unconfirmed { name: name.to_owned() };
    let given = match given {
        Some(given) => given,
        None if std::io::stdin().is_terminal() => {
            let mut terminal = std::io::stderr();
            write!(terminal, "This deletes {what}, for ever.\nType {name} to do it: ")?;
            terminal.flush()?;
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line)?;
            line.trim().to_owned()
        }
        None => return Err(unconfirmed()),
    };
    if given.eq_ignore_ascii_case(name) { Ok(()) } else { Err(unconfirmed()) }
}
