//! The traffic group: counters that all nodes share. For now, failed logins by address.
//!
//! Counters are commutative: each node gathers its own and proposes the sum. A row is the count of an
//! address in one window of time; rows of windows that are over go with the next command.

use bytes::Bytes;
use estafette_raft::{Context, Machine, MachineError};
use estafette_storage::{BodyHash, Direction, Family, Key, Read, Transaction};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

const COMMAND_VERSION: u8 = 1;
const ROW_VERSION: u8 = 1;
/// The kind of row: failed logins.
const LOGIN_FAILURES: u8 = b'l';
/// Addresses of one window; past it further ones are not counted until the next window.
const ADDRESSES_MAX: usize = 1_000_000;

/// Failed logins by address since the last command.
pub(crate) type Failures = Vec<(IpAddr, u32)>;

/// A command of the traffic group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrafficCommand {
    /// The length of a window.
    pub(crate) window_ms: u64,
    /// To be added.
    pub(crate) failures: Failures,
}

impl TrafficCommand {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Plain values into memory: this cannot fail, and an empty command would be refused.
        postcard::to_extend(self, vec![COMMAND_VERSION]).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<TrafficCommand, MachineError> {
        let bad = |version| MachineError::BadCommand { version };
        match bytes.split_first() {
            Some((&COMMAND_VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| bad(COMMAND_VERSION)),
            other => Err(bad(other.map_or(0, |(version, _)| *version))),
        }
    }
}

/// The counters of the window before and the present one.
#[derive(Debug, Default)]
struct Windows {
    present: u64,
    counts: HashMap<(u64, IpAddr), u32>,
}

/// What sessions read: how often logins from an address failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailureView(Arc<RwLock<Windows>>);

impl FailureView {
    /// Failures from an address in the present window and the one before it.
    pub(crate) fn count(&self, address: IpAddr, now_ms: u64, window_ms: u64) -> u32 {
        let window = now_ms / window_ms.max(1);
        let address = network(address);
        let windows = self.0.read();
        let of = |window| windows.counts.get(&(window, address)).copied().unwrap_or(0);
        of(window).saturating_add(window.checked_sub(1).map_or(0, of))
    }
}

/// Applies the counters.
pub(crate) struct TrafficMachine {
    view: FailureView,
}

impl TrafficMachine {
    pub(crate) fn new(view: FailureView) -> TrafficMachine {
        TrafficMachine { view }
    }
}

/// An IPv4 address, or the /64 of an IPv6 one.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from(u128::from(six) & !u128::from(u64::MAX))),
        four => four,
    }
}

fn key(window: u64, address: IpAddr) -> Vec<u8> {
    let six = match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    };
    Key::new().u8(LOGIN_FAILURES).u64(window).bytes(&six.octets()).build()
}

fn parse(key: &[u8], value: &[u8]) -> Option<(u64, IpAddr, u32)> {
    let (window, address) = key.get(1..)?.split_first_chunk::<8>()?;
    let octets: [u8; 16] = address.try_into().ok()?;
    let (version, count) = value.split_first()?;
    let count = u32::from_be_bytes(count.try_into().ok()?);
    let address = IpAddr::V6(octets.into()).to_canonical();
    (*version == ROW_VERSION).then_some((u64::from_be_bytes(*window), address, count))
}

impl Machine for TrafficMachine {
    fn apply(
        &mut self,
        context: &Context,
        command: &[u8],
        _: &[BodyHash],
        tx: &mut Transaction,
    ) -> Result<Bytes, MachineError> {
        let command = TrafficCommand::decode(command)?;
        let window = context.time_ms / command.window_ms.max(1);
        let mut windows = self.view.0.write();
        if windows.present != window {
            let oldest = window.saturating_sub(1);
            windows.present = window;
            windows.counts.retain(|(of, _), _| *of >= oldest);
            let start = Key::new().u8(LOGIN_FAILURES).build();
            tx.delete_range(Family::Traffic, start..Key::new().u8(LOGIN_FAILURES).u64(oldest).build());
        }
        for (address, failures) in command.failures {
            let address = network(address);
            if windows.counts.len() >= ADDRESSES_MAX && !windows.counts.contains_key(&(window, address)) {
                continue;
            }
            let count = windows.counts.entry((window, address)).or_insert(0);
            *count = count.saturating_add(failures);
            let mut value = vec![ROW_VERSION];
            value.extend_from_slice(&count.to_be_bytes());
            tx.put(Family::Traffic, key(window, address), value);
        }
        Ok(Bytes::new())
    }

    fn ranges(&self) -> Vec<(Family, Range<Vec<u8>>)> {
        vec![(Family::Traffic, Key::new().u8(LOGIN_FAILURES).range())]
    }

    fn load(&mut self, rows: &dyn Read) -> Result<(), MachineError> {
        let mut windows = Windows::default();
        for row in rows.scan(Family::Traffic, Key::new().u8(LOGIN_FAILURES).range(), Direction::Forward)? {
            let row = row?;
            let bad = || MachineError::BadRow { family: Family::Traffic, key: row.key.to_vec() };
            let (window, address, count) = parse(&row.key, &row.value).ok_or_else(bad)?;
            windows.present = windows.present.max(window);
            windows.counts.insert((window, address), count);
        }
        *self.view.0.write() = windows;
        Ok(())
    }
}
