//! The verbs that do nothing for a message: NOOP, RSET, QUIT, VRFY, HELP and what is refused.

use super::Session;
use super::session::{Out, Outcome};
use crate::{Error, Reply};

pub(super) fn noop(session: &mut Session, _argument: &str, out: &mut Out) -> Outcome {
    session.say(&Reply::new(250, (2, 0, 0), "ok"), out);
    Ok(())
}

pub(super) fn rset(session: &mut Session, _argument: &str, out: &mut Out) -> Outcome {
    session.transaction = None;
    session.say(&Reply::new(250, (2, 0, 0), "ok"), out);
    Ok(())
}

pub(super) fn quit(session: &mut Session, _argument: &str, out: &mut Out) -> Outcome {
    session.say(&Reply::new(221, (2, 0, 0), "bye"), out);
    session.close(out);
    Ok(())
}

/// RFC 5321 §3.5.3: nothing is told, nothing is denied.
pub(super) fn vrfy(session: &mut Session, argument: &str, out: &mut Out) -> Outcome {
    if argument.is_empty() {
        return Err(Error::Syntax("VRFY address").reply());
    }
    session.say(&Reply::new(252, (2, 5, 0), "cannot verify; send some mail, I will try"), out);
    Ok(())
}

pub(super) fn help(session: &mut Session, _argument: &str, out: &mut Out) -> Outcome {
    session.say(&Reply::new(214, (2, 0, 0), "see RFC 5321"), out);
    Ok(())
}

/// RFC 5321 §4.2.4: a verb that is known and not offered here.
pub(super) fn not_offered(_session: &mut Session, _argument: &str, _out: &mut Out) -> Outcome {
    Err(Reply::new(502, (5, 5, 1), "this command is not offered"))
}
