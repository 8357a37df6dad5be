//! Commands and responses of mailboxes from a log: an error, or what can be said and read again.
#![no_main]

use estafette_fuzz::bounded;
use estafette_mailbox::{Command, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounded(64 * 1024 + 200 * data.len(), || {
        if let Ok(command) = Command::decode(data) {
            assert_eq!(Command::decode(&command.encode()).ok(), Some(command));
        }
        if let Ok(response) = Response::decode(data) {
            assert_eq!(Response::decode(&response.encode()).ok(), Some(response));
        }
    });
});
