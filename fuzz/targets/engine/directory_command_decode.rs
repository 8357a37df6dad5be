//! Commands and responses of the directory from a log: an error, or what can be said and read again.
#![no_main]

use estafette_directory::{Command, Reply};
use estafette_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounded(64 * 1024 + 200 * data.len(), || {
        if let Ok(command) = Command::decode(data) {
            let bytes = command.encode().expect("a command that was read");
            assert_eq!(Command::decode(&bytes).expect("a command that was written"), command);
        }
        if let Ok(applied) = Reply::decode_applied(data) {
            let bytes = Reply::encode_applied(&applied).expect("a response that was read");
            assert_eq!(Reply::decode_applied(&bytes).expect("a response that was written"), applied);
        }
    });
});
