//! Named commands that were carried out: a row for each with its answer, kept for [`REQUEST_REMEMBERED_MS`] to twice
//! that long by the time of the log. Who repeats one is answered from it.
//!
//! As of deliveries, the rows of a period lie together, and all before the last are removed as one range.

use super::{Stop, Work};
use crate::command::{REQUEST_REMEMBERED_MS, RequestId, Response};
use crate::key::Kind;
use crate::read;
use estafette_storage::Family;

fn tail(period: u32, id: RequestId) -> Vec<u8> {
    [&period.to_be_bytes()[..], &id.0].concat()
}

impl Work<'_> {
    fn newest_request_period(&self) -> u32 {
        let period = u32::try_from(self.context.time_ms / REQUEST_REMEMBERED_MS).unwrap_or(u32::MAX);
        period.max(self.account.request_period)
    }

    /// What the command was answered, when it was carried out.
    pub(super) fn answered(&self, id: RequestId) -> Result<Option<Response>, Stop> {
        let newest = self.newest_request_period();
        for period in [newest, newest.saturating_sub(1)] {
            if period > self.account.request_period {
                continue;
            }
            let key = self.at.key(Kind::Request, &tail(period, id));
            let decode = |bytes: &[u8]| Response::decode(bytes).ok();
            if let Some(response) = read::row(&*self.tx, Kind::Request, key, decode)? {
                return Ok(Some(response));
            }
        }
        Ok(None)
    }

    /// Remembers a command that was carried out; forgets those of the period before the last.
    pub(super) fn remember_request(&mut self, id: RequestId, response: &Response) {
        let newest = self.newest_request_period();
        if newest > self.account.request_period {
            let end = self.at.key(Kind::Request, &newest.saturating_sub(1).to_be_bytes());
            self.tx.delete_range(Family::Row, self.at.key(Kind::Request, &[])..end);
            self.account.request_period = newest;
        }
        self.put(self.at.key(Kind::Request, &tail(newest, id)), response.encode());
    }
}
