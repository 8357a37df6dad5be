//! What a request is about, in the 64 bits that come back with its completions.

/// Whose completion it is. The number beside it is a place in a table of the driver, which stays taken until
/// the last completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Another thread has called.
    Bell,
    /// A connection for a listener.
    Accept(usize),
    /// Bytes of a socket.
    Recv(usize),
    /// Bytes to a socket.
    Send(usize),
    /// Bytes to a socket that the kernel takes from where they lie.
    ZeroCopy(usize),
    /// The end of what we send to a socket.
    End(usize),
    /// A socket that is taken over.
    Adopt(usize),
    /// Nobody waits for it.
    Nobody,
}

impl Token {
    pub(super) fn encode(self) -> u64 {
        let (kind, key) = match self {
            Token::Bell => (0_u64, 0),
            Token::Accept(key) => (1, key),
            Token::Recv(key) => (2, key),
            Token::Send(key) => (3, key),
            Token::ZeroCopy(key) => (4, key),
            Token::End(key) => (5, key),
            Token::Adopt(key) => (6, key),
            Token::Nobody => (7, 0),
        };
        kind << 56 | key as u64
    }

    pub(super) fn decode(data: u64) -> Token {
        let key = usize::try_from(data & ((1 << 56) - 1)).unwrap_or(usize::MAX);
        match data >> 56 {
            0 => Token::Bell,
            1 => Token::Accept(key),
            2 => Token::Recv(key),
            3 => Token::Send(key),
            4 => Token::ZeroCopy(key),
            5 => Token::End(key),
            6 => Token::Adopt(key),
            _ => Token::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        let key = 0xABCD_EF01;
        for token in [
            Token::Bell,
            Token::Accept(key),
            Token::Recv(key),
            Token::Send(key),
            Token::ZeroCopy(key),
            Token::End(key),
            Token::Adopt(key),
            Token::Nobody,
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
