//! What differs between two copies of an account, piece by piece: what a move has to send.
//!
//! - A mailbox whose own row is equal on both sides is equal, and not looked at: each change of a mailbox changes its row.
//!   So that row is sent last, and is removed first where the rest does not fit into one batch.
//! - What is compared in one call is of one view; each call may have a newer one. The own row of a mailbox is sent as it was
//!   when the first rows of the mailbox were compared: what changed since makes it differ the next time.
//!
//! Must not: write, or know how batches are carried.

use crate::command::MovedRow;
use crate::error::Error;
use crate::key::{ACCOUNT_HEAD, AccountRef, Kind, after};
use crate::read;
use bytes::Bytes;
use estafette_storage::{Family, Read, Row, Scan};

/// A tail of the keys of an account: mailbox, kind and what comes after.
type Tail = Vec<u8>;

/// Rows to be sent together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What differs. May be empty.
    pub rows: Vec<MovedRow>,
    /// Bytes of their keys and values.
    pub bytes: usize,
    /// With these, both sides are equal, but for the account's own row.
    pub last: bool,
}

impl Batch {
    fn push(&mut self, tail: Tail, value: Option<Vec<u8>>) {
        self.bytes += tail.len() + value.as_ref().map_or(0, Vec::len);
        self.rows.push(MovedRow { tail, value });
    }
}

/// A mailbox, or the account's own rows, while it is compared.
struct Section {
    mailbox: u32,
    /// The tail from which on it is still to be compared.
    next: Tail,
    /// The mailbox's own row where it comes from and where it goes.
    own: (Option<Bytes>, Option<Bytes>),
}

/// A comparison under way.
pub struct Transfer {
    from: AccountRef,
    to: AccountRef,
    section: Option<Section>,
    next_mailbox: Option<u32>,
}

impl Transfer {
    /// From one shard to another; nothing is compared yet.
    pub fn new(from: AccountRef, to: AccountRef) -> Transfer {
        Transfer { from, to, section: None, next_mailbox: Some(0) }
    }

    /// Goes on until there is a batch of about so many rows or bytes, or all was compared.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn next<R: Read + ?Sized>(
        &mut self,
        rows: &R,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        while let Some(mut section) = match self.section.take() {
            Some(section) => Some(section),
            None => self.next_section(rows)?,
        } {
            let whole = self.compare(rows, &mut section, &mut batch, rows_max, bytes_max)?;
            if !whole {
                // What is there of the mailbox fits nothing until the rest has come.
                if section.own.1.take().is_some() {
                    batch.push(own_tail(section.mailbox), None);
                }
                self.section = Some(section);
                return Ok(batch);
            }
            if section.own.0 != section.own.1 {
                batch.push(own_tail(section.mailbox), section.own.0.map(Vec::from));
            }
            self.next_mailbox = section.mailbox.checked_add(1);
            if batch.rows.len() >= rows_max || batch.bytes >= bytes_max {
                return Ok(batch);
            }
        }
        batch.last = true;
        Ok(batch)
    }

    /// The next mailbox that is not equal by its own row.
    fn next_section<R: Read + ?Sized>(&mut self, rows: &R) -> Result<Option<Section>, Error> {
        while let Some(mailbox) = self.next_mailbox {
            if mailbox == 0 {
                let next = [&mailbox.to_be_bytes()[..], &[Kind::Name as u8]].concat();
                return Ok(Some(Section { mailbox, next, own: (None, None) }));
            }
            let from = first_mailbox(rows, self.from, mailbox)?;
            let to = first_mailbox(rows, self.to, mailbox)?;
            let Some(mailbox) = from.into_iter().chain(to).min() else { break };
            let own = |at: AccountRef| -> Result<Option<Bytes>, Error> {
                let row = rows.read(Family::Row, &at.whole_key(&own_tail(mailbox)))?;
                Ok(row.map(|row| row.into_bytes()))
            };
            let own = (own(self.from)?, own(self.to)?);
            if own.0.is_none() || own.0 != own.1 {
                let next = [&mailbox.to_be_bytes()[..], &[Kind::Mailbox as u8 + 1]].concat();
                return Ok(Some(Section { mailbox, next, own }));
            }
            self.next_mailbox = mailbox.checked_add(1);
        }
        self.next_mailbox = None;
        Ok(None)
    }

    /// Puts what differs into the batch; false when the batch was full before the end.
    fn compare<R: Read + ?Sized>(
        &self,
        rows: &R,
        section: &mut Section,
        batch: &mut Batch,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<bool, Error> {
        let end = after(section.mailbox.to_be_bytes().to_vec());
        let range = |at: AccountRef| at.whole_key(&section.next)..at.whole_key(&end);
        let mut from = Side::new(read::scan(rows, range(self.from))?)?;
        let mut to = Side::new(read::scan(rows, range(self.to))?)?;
        loop {
            let order = match (from.tail(), to.tail()) {
                (None, None) => return Ok(true),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(one), Some(other)) => one.cmp(other),
            };
            if batch.rows.len() >= rows_max || batch.bytes >= bytes_max {
                let next = if order.is_le() { from.tail() } else { to.tail() };
                section.next = next.unwrap_or_default().to_vec();
                return Ok(false);
            }
            let coming = if order.is_le() { from.advance()? } else { None };
            let there = if order.is_ge() { to.advance()? } else { None };
            match (coming, there) {
                (Some(row), Some(other)) if row.value == other.value => {}
                (Some(row), _) => batch.push(tail_of(&row).to_vec(), Some(row.value.to_vec())),
                (None, Some(row)) => batch.push(tail_of(&row).to_vec(), None),
                (None, None) => return Ok(true),
            }
        }
    }
}

fn own_tail(mailbox: u32) -> Tail {
    [&mailbox.to_be_bytes()[..], &[Kind::Mailbox as u8]].concat()
}

fn tail_of(row: &Row) -> &[u8] {
    row.key.get(ACCOUNT_HEAD..).unwrap_or_default()
}

/// The first mailbox from a number on that has any row.
fn first_mailbox<R: Read + ?Sized>(rows: &R, at: AccountRef, from: u32) -> Result<Option<u32>, Error> {
    let range = at.whole_key(&from.to_be_bytes())..after(at.whole_key(&[]));
    let Some(row) = read::scan(rows, range)?.next().transpose()? else { return Ok(None) };
    let number = tail_of(&row).first_chunk::<4>().copied();
    Ok(number.map(u32::from_be_bytes))
}

/// One side of a comparison, with the row that comes next.
struct Side<'a> {
    rows: Scan<'a>,
    next: Option<Row>,
}

impl<'a> Side<'a> {
    fn new(rows: Scan<'a>) -> Result<Side<'a>, Error> {
        let mut side = Side { rows, next: None };
        side.advance()?;
        Ok(side)
    }

    fn tail(&self) -> Option<&[u8]> {
        self.next.as_ref().map(tail_of)
    }

    /// The row that came next; looks for the one after it.
    fn advance(&mut self) -> Result<Option<Row>, Error> {
        let next = self.rows.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}
