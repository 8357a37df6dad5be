//! Buffers lent to the kernel, from which it takes one when bytes have come: an idle socket has none.
//!
//! A buffer is the kernel's from the moment that it is lent until a completion names it, and ours until it
//! is lent again. What was read leaves by a copy, or, when it fills most of its buffer, with the buffer
//! itself, for which a new one is lent.

use super::ring::Ring;
use crate::thread::sockets::BULK_BYTES;
use bytes::BytesMut;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The kernel wants the list of buffers at the start of a page.
const PAGE: usize = 4096;

/// A group of buffers of one size.
pub(super) struct Group {
    id: u16,
    list: NonNull<BufRingEntry>,
    layout: Layout,
    tail: u16,
    each: usize,
    buffers: Vec<BytesMut>,
}

impl Group {
    /// Lends `count` buffers (a power of two) of `each` bytes to a ring.
    pub(super) fn lend(ring: &Ring, id: u16, count: u16, each: usize) -> io::Result<Group> {
        assert!(count.is_power_of_two(), "the kernel counts in powers of two");
        let size = usize::from(count) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(size, PAGE).map_err(io::Error::other)?;
        // SAFETY: the layout has a size, since there is at least one buffer.
        let list = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        let Some(list) = NonNull::new(list) else { handle_alloc_error(layout) };
        let buffers = (0..count).map(|_| BytesMut::with_capacity(each)).collect();
        let mut group = Group { id, list, layout, tail: 0, each, buffers };
        let submitter = ring.submitter();
        // SAFETY: the list is as large as said, and lives until no request is left that takes a buffer (see `Lent`);
        // nothing else makes the kernel look at it.
        unsafe { submitter.register_buf_ring_with_flags(list.as_ptr() as u64, count, id, 0) }?;
        for number in 0..count {
            group.lend_again(number);
        }
        Ok(group)
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    /// What the kernel read into a buffer; one is lent again. True when it was full.
    pub(super) fn take(&mut self, number: u16, count: usize, into: &mut BytesMut) -> bool {
        let each = self.each;
        let Some(buffer) = self.buffers.get_mut(usize::from(number)) else { return false };
        assert!(count <= each, "the kernel keeps to the size of a buffer");
        // SAFETY: the kernel has written so many bytes, which are no more than there is room for.
        unsafe { buffer.set_len(count) };
        if into.is_empty() && count * 2 >= each && each >= BULK_BYTES {
            *into = std::mem::replace(buffer, BytesMut::with_capacity(each));
        } else {
            into.extend_from_slice(buffer);
            buffer.clear();
        }
        self.lend_again(number);
        count == each
    }

    /// Lends a buffer again of which nothing was used.
    pub(super) fn lend_again(&mut self, number: u16) {
        let mask = self.buffers.len() - 1;
        let Some(buffer) = self.buffers.get_mut(usize::from(number)) else { return };
        // SAFETY: the place is within the list, since its length is a power of two and the mask one less;
        // the kernel does not read it before the tail says so.
        let entry = unsafe { &mut *self.list.as_ptr().add(usize::from(self.tail) & mask) };
        entry.set_addr(buffer.as_mut_ptr() as u64);
        entry.set_len(u32::try_from(self.each).unwrap_or(u32::MAX));
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the list begins with an entry in whose spare field the kernel has its tail: aligned, alive,
        // and read by the kernel with the order that is given here.
        let tail = unsafe { &*BufRingEntry::tail(self.list.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Group {
    /// By then no request is left that could take a buffer (see `Lent`); the ring ends next.
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.list.as_ptr().cast(), self.layout) };
    }
}
