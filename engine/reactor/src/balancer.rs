//! Connections through a balancer: who is really there stands in a header in front of everything else.
//!
//! A peer that is trusted to send headers has to; a header of anybody else is input like any other.

use crate::Error;
use crate::thread::Socket;
use bytes::BytesMut;
use estafette_proxy::{Addresses, Parsed, parse};

/// Reads the header of a connection; `None` when it names nobody and the connection speaks for itself. What was
/// read behind it is read next.
///
/// # Errors
/// [`Error::Balancer`] when there is no header, or none that can be understood.
pub(crate) async fn read_header(socket: &mut Socket) -> Result<Option<Addresses>, Error> {
    let mut read = BytesMut::new();
    loop {
        match parse(&read)? {
            Parsed::Header { bytes, addresses } => {
                let rest = read.split_off(bytes);
                socket.put_back(rest);
                return Ok(addresses);
            }
            Parsed::Partial { wanted_bytes } => {
                let missing = wanted_bytes.saturating_sub(read.len());
                if socket.recv(&mut read, missing).await? == 0 {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
            }
        }
    }
}
