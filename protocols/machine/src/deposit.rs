//! What an engine keeps of something that is still on its way to it.

use std::any::Any;
use std::fmt;

/// A large thing (a message) does not come to the engine with one question, but in parts. What the engine has taken so
/// far lies in a deposit: the session gets it with each answer and gives it back with the next question, and cannot look
/// into it. Whoever drops it throws away what is kept, so a session that ends for whatever reason leaves nothing.
pub struct Deposit(Box<dyn Any + Send>);

impl Deposit {
    /// Of the engine's own making.
    pub fn new<T: Any + Send>(kept: T) -> Deposit {
        Deposit(Box::new(kept))
    }

    /// What was put into it; `None` if that is something else.
    pub fn open<T: Any + Send>(self) -> Option<Box<T>> {
        self.0.downcast().ok()
    }
}

impl fmt::Debug for Deposit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deposit(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_what_it_is_can_open_it() {
        assert_eq!(Deposit::new(7_u32).open::<u32>().as_deref(), Some(&7));
        assert!(Deposit::new(7_u32).open::<u64>().is_none());
    }
}
