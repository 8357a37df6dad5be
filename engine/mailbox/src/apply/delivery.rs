//! What was delivered already: a row for each delivery, kept for [`DELIVERY_REMEMBERED_MS`] to twice
//! that long by the time of the log, or for ever when it was imported.
//!
//! The rows of a period lie together. When a new period begins, all before the last are removed as
//! one range, so nothing is ever searched for what is too old.

use super::{Stop, Work};
use crate::command::{DELIVERY_REMEMBERED_MS, DeliveryId};
use crate::key::Kind;
use crate::read;
use crate::rows::Delivered;
use estafette_storage::Family;

/// The period of what is never forgotten.
pub(crate) const FOR_EVER: u32 = u32::MAX;

/// The period that a time lies in.
pub(super) fn period_of(time_ms: u64) -> u32 {
    u32::try_from(time_ms / DELIVERY_REMEMBERED_MS).map_or(FOR_EVER - 1, |period| period.min(FOR_EVER - 1))
}

fn tail(period: u32, id: DeliveryId) -> Vec<u8> {
    let mut tail = Vec::with_capacity(24);
    tail.extend_from_slice(&period.to_be_bytes());
    tail.extend_from_slice(&id.message);
    tail.extend_from_slice(&id.recipient.to_be_bytes());
    tail
}

impl Work<'_> {
    fn newest_period(&self) -> u32 {
        period_of(self.context.time_ms).max(self.account.delivery_period)
    }

    /// Where this was delivered, when it was.
    pub(super) fn delivered(&self, id: DeliveryId) -> Result<Option<Delivered>, Stop> {
        let newest = self.newest_period();
        for period in [newest, newest.saturating_sub(1)] {
            if period <= self.account.delivery_period
                && let Some(found) = self.delivered_in(period, id)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Where this was delivered in a period.
    pub(super) fn delivered_in(&self, period: u32, id: DeliveryId) -> Result<Option<Delivered>, Stop> {
        let key = self.at.key(Kind::Delivery, &tail(period, id));
        Ok(read::row(&*self.tx, Kind::Delivery, key, Delivered::decode)?)
    }

    /// Remembers a delivery; forgets those of the period before the last.
    pub(super) fn remember(&mut self, id: DeliveryId, delivered: Delivered) {
        #[cfg(feature = "planted")]
        if estafette_storage::planted::is("delivery-forgotten") {
            return;
        }
        let newest = self.newest_period();
        if newest > self.account.delivery_period {
            let end = self.at.key(Kind::Delivery, &newest.saturating_sub(1).to_be_bytes());
            self.tx.delete_range(Family::Row, self.at.key(Kind::Delivery, &[])..end);
            self.account.delivery_period = newest;
        }
        self.remember_in(newest, id, delivered);
    }

    /// Remembers a delivery in a period.
    pub(super) fn remember_in(&mut self, period: u32, id: DeliveryId, delivered: Delivered) {
        self.put(self.at.key(Kind::Delivery, &tail(period, id)), delivered.encode());
    }
}
