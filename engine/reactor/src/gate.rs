//! How many connections there may be: in all, and from one address.
//!
//! Those in all are of this gate alone; to those of an address belong the ones that other gates are said to have
//! ([`Gate::set_elsewhere`]).

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
    /// What other gates have of an address.
    elsewhere: HashMap<IpAddr, usize>,
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
        let here = counts.by_address.get(&address).copied().unwrap_or(0);
        let elsewhere = counts.elsewhere.get(&address).copied().unwrap_or(0);
        if here.saturating_add(elsewhere) >= self.limits.sessions_per_address {
            return Err(Refusal::Address);
        }
        counts.by_address.insert(address, here + 1);
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

    /// What it was made with.
    pub fn limits(&self) -> GateLimits {
        self.limits
    }

    /// The addresses that have at least so many sessions here, at most so many of them, with their sessions; the busiest
    /// first.
    pub fn busiest(&self, sessions_min: usize, addresses_max: usize) -> Vec<(IpAddr, usize)> {
        let counts = self.counts.lock();
        let busy = counts.by_address.iter().filter(|(_, sessions)| **sessions >= sessions_min);
        let mut busy: Vec<(IpAddr, usize)> = busy.map(|(address, sessions)| (*address, *sessions)).collect();
        drop(counts);
        busy.sort_unstable_by_key(|(_, sessions)| std::cmp::Reverse(*sessions));
        busy.truncate(addresses_max);
        busy
    }

    /// What other gates have, instead of what was said before. The addresses are as [`Gate::busiest`] gives them.
    pub fn set_elsewhere(&self, sessions: HashMap<IpAddr, usize>) {
        let before = std::mem::replace(&mut self.counts.lock().elsewhere, sessions);
        // What was there is freed while others enter.
        drop(before);
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
    fn what_other_gates_have_counts_for_the_address_alone() {
        let limits = GateLimits { sessions: 3, sessions_per_address: 2 };
        let (here, there) = (Gate::new(limits), Gate::new(limits));
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        let far = (there.enter(one).unwrap(), there.enter(one).unwrap(), there.enter(other).unwrap());
        let told = there.busiest(2, 10);
        assert_eq!(told, [("2001:db8::".parse::<IpAddr>().unwrap(), 2)]);
        assert_eq!(there.busiest(1, 1), told, "the busiest goes first");
        here.set_elsewhere(told.into_iter().collect());
        assert_eq!(here.enter(one).err(), Some(Refusal::Address));
        let near = (here.enter(other).unwrap(), here.enter(other).unwrap());
        assert_eq!(here.sessions(), 2);
        drop(far);
        here.set_elsewhere(there.busiest(1, 10).into_iter().collect());
        assert!(here.enter(one).is_ok());
        drop(near);
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
