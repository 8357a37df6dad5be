//! How many connections there may be: in all, and from one address.

use crate::Refusal;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The limits of a [`Gate`].
#[derive(Clone, Copy, Debug)]
pub struct GateLimits {
    /// Sessions of all listeners together.
    pub sessions: usize,
    /// Sessions from one address (an IPv6 /64 counts as one).
    pub sessions_per_address: usize,
}

/// Counts sessions; shared by all listeners.
#[derive(Clone)]
pub struct Gate {
    limits: GateLimits,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place taken; given back when dropped.
pub struct Pass {
    counts: Arc<Mutex<Counts>>,
    /// None if the address is counted elsewhere.
    address: Option<IpAddr>,
}

impl Gate {
    /// An empty gate.
    pub fn new(limits: GateLimits) -> Gate {
        Gate { limits, counts: Arc::default() }
    }

    /// Takes a place for a connection from `address`.
    pub fn enter(&self, address: IpAddr) -> Result<Pass, Refusal> {
        let address = network(address);
        let mut counts = self.counts.lock();
        if counts.total >= self.limits.sessions {
            return Err(Refusal::Full);
        }
        let of_address = counts.by_address.entry(address).or_insert(0);
        if *of_address >= self.limits.sessions_per_address {
            return Err(Refusal::Address);
        }
        *of_address += 1;
        counts.total += 1;
        Ok(Pass { counts: Arc::clone(&self.counts), address: Some(address) })
    }

    /// Takes a place for a session whose address is counted where its client is connected.
    pub fn enter_adopted(&self) -> Result<Pass, Refusal> {
        let mut counts = self.counts.lock();
        if counts.total >= self.limits.sessions {
            return Err(Refusal::Full);
        }
        counts.total += 1;
        Ok(Pass { counts: Arc::clone(&self.counts), address: None })
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.counts.lock().total
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.total = counts.total.saturating_sub(1);
        let Some(address) = self.address else { return };
        if let Some(of_address) = counts.by_address.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

/// The unit in which addresses are counted: one IPv4 address, one IPv6 /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => {
                let prefix = u128::from(six) & !u128::from(u64::MAX);
                IpAddr::V6(prefix.into())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let gate = Gate::new(GateLimits { sessions: 3, sessions_per_address: 2 });
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let same_network: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        let first = gate.enter(one).unwrap();
        let _second = gate.enter(same_network).unwrap();
        assert_eq!(gate.enter(one).err(), Some(Refusal::Address));
        let _third = gate.enter(other).unwrap();
        assert_eq!(gate.enter(other).err(), Some(Refusal::Full));
        drop(first);
        assert_eq!(gate.sessions(), 2);
        assert!(gate.enter(one).is_ok());
    }

    #[test]
    fn who_is_counted_elsewhere_takes_a_place_of_no_address() {
        let gate = Gate::new(GateLimits { sessions: 2, sessions_per_address: 1 });
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let adopted = gate.enter_adopted().unwrap();
        let _own = gate.enter(one).unwrap();
        assert_eq!(gate.enter_adopted().err(), Some(Refusal::Full));
        assert_eq!(gate.enter(one).err(), Some(Refusal::Full));
        drop(adopted);
        assert_eq!((gate.sessions(), gate.enter(one).err()), (1, Some(Refusal::Address)));
        assert!(gate.enter_adopted().is_ok());
    }
}
