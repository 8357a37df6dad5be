//! Connections from many addresses: one address has some 28,000 ports for a destination, and servers limit
//! the sessions of one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Addresses of loopback that are used, from 127.0.0.1.
const SOURCES: usize = 250;

/// A connection from one of them.
pub(super) async fn connect(address: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let last = u8::try_from(number % SOURCES + 1).unwrap_or(1);
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
