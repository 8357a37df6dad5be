//! Chance that follows from the input, and how an input is cut into segments.

/// Numbers that look random and follow from a seed (xorshift).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `limit` - 1.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Cuts into segments; the first throw decides whether they are single bytes, small or large.
    pub fn cut<'a>(&mut self, mut data: &'a [u8]) -> Vec<&'a [u8]> {
        let most = [1, 2, 7, 60, 1500][self.below(5)];
        let mut pieces = Vec::new();
        while !data.is_empty() {
            let (piece, rest) = data.split_at((1 + self.below(most)).min(data.len()));
            pieces.push(piece);
            data = rest;
        }
        pieces
    }
}

/// The first bytes of an input choose settings and seed the dice; the rest is what is parsed.
pub fn head(data: &[u8]) -> (u8, Dice, &[u8]) {
    let (settings, rest) = data.split_first().unwrap_or((&0, &[]));
    let (seed, rest) = rest.split_first().unwrap_or((&0, &[]));
    (*settings, Dice::new(u64::from(*seed)), rest)
}
