mod examples;
mod hostile;
mod messages;
mod second_opinion;

use super::*;
use crate::codec::framer::{Framed, Framer, Limits};
use bytes::BytesMut;

/// The frame of one command; its literals need not be asked for.
fn frame(bytes: &[u8]) -> Result<Frame, CommandError> {
    let mut framer = Framer::new(Limits::after_login(1 << 20));
    let mut input = BytesMut::from(bytes);
    loop {
        match framer.next(&mut input) {
            Framed::Continue(_) => {}
            Framed::Frame(frame) => return Ok(frame),
            Framed::Refused(error) | Framed::Fatal(error) => return Err(error),
            Framed::Incomplete | Framed::Part { .. } => panic!("incomplete: {}", bytes.escape_ascii()),
        }
    }
}

fn parse_in(bytes: &[u8], dialect: Dialect) -> Result<Command, CommandError> {
    command(&frame(bytes)?, dialect)
}

/// The command `a TEXT`.
fn parse(text: &str) -> Result<CommandBody, Fault> {
    let line = format!("a {text}\r\n");
    parse_in(line.as_bytes(), Dialect::Ascii).map(|command| command.body).map_err(|error| error.fault)
}
