//! Names of items.

use estafette_types::ShardId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An item of the queue, named by the message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemId(pub [u8; 16]);

impl ItemId {
    /// A name that follows from this one: the same at every repetition, and met by no other.
    #[must_use]
    pub fn derived(self, what: &str, numbers: &[u32]) -> ItemId {
        let mut hasher = blake3::Hasher::new_derive_key("estafette: names that follow from queue items");
        hasher.update(&self.0);
        hasher.update(what.as_bytes());
        for number in numbers {
            hasher.update(&number.to_be_bytes());
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        ItemId(id)
    }

    /// A number that looks random but is always the same for the same item and `salt`.
    pub(crate) fn spread(self, salt: u32) -> u32 {
        let [a, b, c, d, ..] = self.derived("spread", &[salt]).0;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is no name of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an item of the queue is named by its shard, '-' and 32 hexadecimal digits")]
pub struct ItemKeyError;

impl FromStr for ItemId {
    type Err = ItemKeyError;
    fn from_str(text: &str) -> Result<ItemId, ItemKeyError> {
        let mut id = [0; 16];
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(ItemKeyError);
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| pair.get(at).and_then(|c| char::from(*c).to_digit(16));
            let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(ItemKeyError) };
            *byte = u8::try_from(high * 16 + low).map_err(|_| ItemKeyError)?;
        }
        Ok(ItemId(id))
    }
}

/// An item and the shard that owns it. As text: `4-00112233445566778899aabbccddeeff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey {
    /// The shard.
    pub shard: ShardId,
    /// The item.
    pub id: ItemId,
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard, self.id)
    }
}

impl FromStr for ItemKey {
    type Err = ItemKeyError;
    fn from_str(text: &str) -> Result<ItemKey, ItemKeyError> {
        let (shard, id) = text.split_once('-').ok_or(ItemKeyError)?;
        Ok(ItemKey { shard: ShardId(shard.parse().map_err(|_| ItemKeyError)?), id: id.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_bad_ones_are_refused() {
        let key = ItemKey { shard: ShardId(4), id: ItemId(*b"0123456789abcdef") };
        assert_eq!(key.to_string(), "4-30313233343536373839616263646566");
        assert_eq!(key.to_string().parse(), Ok(key));
        for bad in [
            "",
            "4-",
            "4",
            "x-30313233343536373839616263646566",
            "4-3031323334353637383961626364656",
            "4-é0313233343536373839616263646566",
        ] {
            assert_eq!(bad.parse::<ItemKey>(), Err(ItemKeyError), "{bad}");
        }
    }

    #[test]
    fn names_that_follow_are_stable_and_differ() {
        let id = ItemId([7; 16]);
        assert_eq!(id.derived("a", &[1, 2]), id.derived("a", &[1, 2]));
        assert_ne!(id.derived("a", &[1, 2]), id.derived("a", &[1]));
        assert_ne!(id.derived("a", &[1]), id.derived("b", &[1]));
        // On disk in mailboxes: never to change.
        assert_eq!(id.derived("failure", &[0]).to_string(), FIXED);
    }

    const FIXED: &str = "7d96baae64b1431abb5bd6a811002037";
}
