//! What Estafette has to reach, row by row.
//!
//! The load generator shares the processors with the server. So reading is judged by what a second of the
//! server's CPU brings, deliveries by their rate and by their CPU, logins by their rate.

use super::works::{LARGE_BYTES, PROFILES, SMALL_BYTES, Work};
use crate::load::{ConnectKind, ImapProfile, Mailbox, Protocol, Shape};
use crate::report::{Figure, Goal, Wanted};
use crate::servers::Kind;

/// Deliveries a second, times those of Dovecot by LMTP.
const DELIVERIES_TO_DOVECOT: f64 = 8.0;
/// Deliveries a second, times those of Postfix with Dovecot.
const DELIVERIES_TO_POSTFIX: f64 = 15.0;
/// CPU of a delivery goes into that of Dovecot so many times.
const DELIVERY_CPU: f64 = 10.0;
/// What the disk is given for a delivery goes into that of Dovecot so many times.
const DELIVERY_DISK: f64 = 2.0;
/// Commands for a second of CPU, times those of Dovecot.
const IMAP_PER_CPU: f64 = 3.0;
/// Retrievals for a second of CPU, times those of Dovecot.
const POP3_PER_CPU: f64 = 2.0;
/// Memory of an idle session.
const IDLE_KIB: f64 = 4.0;
/// Likewise, with TLS.
const IDLE_TLS_KIB: f64 = 24.0;
/// Logins a second, times those of Dovecot.
const LOGINS: f64 = 20.0;

fn deliveries(protocol: Protocol, sessions: usize) -> Work {
    Work::Ingest { protocol, sessions, size: SMALL_BYTES }
}

fn goal(measure: &'static str, work: Work, figure: Figure, peer: (Kind, Work), wanted: Wanted) -> Goal {
    let (kind, peer_work) = peer;
    Goal { measure, load: work.label(), figure, peer: kind.name(), peer_load: peer_work.label(), wanted }
}

/// All goals; those without a number are only told.
pub(super) fn goals() -> Vec<Goal> {
    let mut goals = delivery_goals();
    // Without a goal: how it is with one session, larger messages, and storms.
    for protocol in [Protocol::Lmtp, Protocol::Smtp] {
        let peer =
            |work| if protocol == Protocol::Lmtp { (Kind::Dovecot, work) } else { (Kind::Postfix, work) };
        for (sessions, size) in [(1, SMALL_BYTES), (1, LARGE_BYTES), (20, LARGE_BYTES), (100, LARGE_BYTES)] {
            let work = Work::Ingest { protocol, sessions, size };
            goals.push(goal("deliveries, further", work, Figure::Rate, peer(work), Wanted::Told));
        }
    }
    for shape in [Shape::ManySenders, Shape::ManyRecipients] {
        let work = Work::Storm { shape };
        goals.push(goal("deliveries, further", work, Figure::Rate, (Kind::Dovecot, work), Wanted::Told));
    }
    for profile in PROFILES {
        let work = Work::Imap { profile, size: SMALL_BYTES };
        let wanted = Wanted::Times(IMAP_PER_CPU);
        goals.push(goal("IMAP commands", work, Figure::PerCpuSecond, (Kind::Dovecot, work), wanted));
    }
    // With what it writes made durable before it answers, as ours is.
    for profile in [ImapProfile::Store, ImapProfile::Append, ImapProfile::Mixed] {
        let work = Work::Imap { profile, size: SMALL_BYTES };
        let peer = (Kind::DovecotSynced, work);
        goals.push(goal("IMAP commands, synced", work, Figure::PerCpuSecond, peer, Wanted::Told));
        goals.push(goal("IMAP commands, synced", work, Figure::Rate, peer, Wanted::Told));
    }
    let large = Work::Imap { profile: ImapProfile::Fetch, size: LARGE_BYTES };
    goals.push(goal("IMAP commands", large, Figure::PerCpuSecond, (Kind::Dovecot, large), Wanted::Told));
    let pop3 = (Kind::Dovecot, Work::Pop3);
    goals.push(goal("POP3 retrievals", Work::Pop3, Figure::PerCpuSecond, pop3, Wanted::Times(POP3_PER_CPU)));
    for (tls, most) in [(false, IDLE_KIB), (true, IDLE_TLS_KIB)] {
        let work = Work::Idle { tls };
        for peer in [Kind::Dovecot, Kind::DovecotHibernate] {
            let wanted = Wanted::AtMost(most);
            goals.push(goal("memory of an idle session", work, Figure::SessionKib, (peer, work), wanted));
        }
    }
    goals.extend(connect_goals());
    goals
}

fn delivery_goals() -> Vec<Goal> {
    let mut goals = Vec::new();
    let both = [Protocol::Lmtp, Protocol::Smtp];
    let each = || both.into_iter().flat_map(|protocol| [20, 100].map(|sessions| (protocol, sessions)));
    for (protocol, sessions) in each() {
        let ours = deliveries(protocol, sessions);
        let peer = (Kind::Dovecot, deliveries(Protocol::Lmtp, sessions));
        let wanted = Wanted::Times(DELIVERIES_TO_DOVECOT);
        goals.push(goal("deliveries", ours, Figure::Rate, peer, wanted));
    }
    for (protocol, sessions) in each() {
        let ours = deliveries(protocol, sessions);
        let peer = (Kind::Postfix, deliveries(Protocol::Smtp, sessions));
        let wanted = Wanted::Times(DELIVERIES_TO_POSTFIX);
        goals.push(goal("deliveries", ours, Figure::Rate, peer, wanted));
    }
    for (protocol, sessions) in each() {
        let ours = deliveries(protocol, sessions);
        let peer = (Kind::Dovecot, deliveries(Protocol::Lmtp, sessions));
        let wanted = Wanted::Times(DELIVERY_CPU);
        goals.push(goal("CPU of a delivery", ours, Figure::CpuMs, peer, wanted));
    }
    for (protocol, sessions) in each() {
        let ours = deliveries(protocol, sessions);
        let peer = (Kind::Dovecot, deliveries(Protocol::Lmtp, sessions));
        let wanted = Wanted::Times(DELIVERY_DISK);
        goals.push(goal("written for a delivery", ours, Figure::DiskKib, peer, wanted));
        goals.push(goal("flushes for a delivery", ours, Figure::Flushes, peer, Wanted::Told));
    }
    goals
}

fn connect_goals() -> Vec<Goal> {
    let login = |protocol, tls| Work::Login { protocol, tls };
    let handshake = |kind| Work::Handshake { kind };
    [
        (login(Mailbox::Imap, false), Wanted::Times(LOGINS)),
        (login(Mailbox::Pop3, false), Wanted::Times(LOGINS)),
        (login(Mailbox::Imap, true), Wanted::Told),
        (handshake(ConnectKind::Handshake), Wanted::Told),
        (handshake(ConnectKind::Resume), Wanted::Told),
    ]
    .into_iter()
    .map(|(work, wanted)| goal("connections", work, Figure::Rate, (Kind::Dovecot, work), wanted))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::works::works;
    use super::*;

    #[test]
    fn every_goal_is_of_a_load_that_is_run() {
        let labels: Vec<String> = works().iter().map(Work::label).collect();
        for goal in goals() {
            assert!(labels.contains(&goal.load), "{}", goal.load);
            assert!(labels.contains(&goal.peer_load), "{}", goal.peer_load);
        }
    }

    #[test]
    fn every_load_has_a_goal_or_is_told() {
        let goals = goals();
        for work in works() {
            assert!(goals.iter().any(|goal| goal.load == work.label()), "{}", work.label());
        }
    }
}
