//! Large messages of APPEND are handed over in parts while they come; whatever goes wrong, the engine keeps nothing.

use crate::codec::framer::PART_BYTES;
use crate::session::Config;
use crate::session::ask::Failure;
use crate::session::testing::{Client, World, world};
use estafette_machine::Machine;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// About so many parts.
fn text(parts: usize) -> String {
    format!("Subject: large\r\n\r\n{}", "0123456789 abcdef\r\n".repeat(parts * PART_BYTES / 19 + 1))
}

fn parts_asked(world: &Rc<RefCell<World>>) -> usize {
    world.borrow().asked.iter().filter(|name| *name == "Part").count()
}

fn assert_let_go(world: &Rc<RefCell<World>>) {
    assert_eq!(Arc::strong_count(&world.borrow().alive), 1, "the engine still keeps something");
}

/// Sends in pieces, as a driver gets them.
fn send(client: &mut Client, bytes: &[u8]) -> String {
    client.take();
    bytes.chunks(60_000).for_each(|piece| client.send(piece));
    client.text()
}

fn selected(world: &Rc<RefCell<World>>) -> Client {
    let mut config = Config { login_without_tls: true, ..Config::default() };
    config.limits.part_from = 0;
    let mut client = Client::with(world, config);
    assert!(client.run("se SELECT INBOX").contains("se OK"));
    client
}

#[test]
fn a_large_message_comes_in_parts_and_is_the_same() {
    let world = world(&[]);
    let mut client = selected(&world);
    let text = text(3);
    let said =
        send(&mut client, format!("a APPEND INBOX {{{}+}}\r\n{text}\r\nb NOOP\r\n", text.len()).as_bytes());
    assert!(said.contains("a OK [APPENDUID") && said.ends_with("b OK NOOP completed\r\n"), "{said}");
    assert!((2..=3).contains(&parts_asked(&world)));
    assert_let_go(&world);
    // With the continuation, and all at once.
    assert!(client.run(&format!("c APPEND INBOX {{{}}}", text.len())).starts_with("+ "));
    client.send(format!("{text}\r\n").as_bytes());
    assert!(client.text().contains("c OK [APPENDUID"));
    for number in [1, 2] {
        let said = client.run(&format!("d FETCH {number} BODY.PEEK[]"));
        assert!(said.contains(&text));
    }
    // A small one does not.
    let before = parts_asked(&world);
    send(&mut client, b"e APPEND INBOX {300000+}\r\n");
    let said = send(&mut client, format!("{}\r\n", "x".repeat(300_000)).as_bytes());
    assert!(said.contains("e OK"), "{said}");
    assert_eq!(parts_asked(&world), before);
}

#[test]
fn what_the_engine_refuses_is_read_to_its_end() {
    let world = world(&[]);
    let mut client = selected(&world);
    let text = text(3);
    for (failure, told) in [
        (Failure::OverQuota, "a NO [OVERQUOTA] "),
        (Failure::Unavailable, "a NO [UNAVAILABLE] "),
        (Failure::Internal, "a NO [UNAVAILABLE] "),
    ] {
        world.borrow_mut().fail_next = Some(failure);
        let input = format!("a APPEND INBOX {{{}+}}\r\n{text}\r\nb NOOP\r\n", text.len());
        let said = send(&mut client, input.as_bytes());
        assert!(said.starts_with(told) && said.ends_with("b OK NOOP completed\r\n"), "{said}");
        assert_let_go(&world);
    }
    assert_eq!(world.borrow().folders["INBOX"].mails.len(), 0);
}

#[test]
fn faults_after_the_first_part_leave_nothing() {
    let world = world(&[]);
    let mut client = selected(&world);
    let mut text = text(3).into_bytes();
    let at = 2 * PART_BYTES + 100_000;
    text[at] = 0;
    let input = |kind: &str| {
        [format!("a APPEND INBOX {kind}{{{}+}}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat()
    };
    let said = send(&mut client, &input(""));
    assert!(said.starts_with("a BAD NUL"), "{said}");
    assert_let_go(&world);
    assert!(parts_asked(&world) > 0);
    let said = send(&mut client, &input("~"));
    assert!(said.starts_with("a NO [UNKNOWN-CTE]"), "{said}");
    assert_let_go(&world);
    // Two messages: each in parts, and neither taken.
    text[at] = b'x';
    let announced = |before: &str| format!("{before} {{{}+}}\r\n", text.len()).into_bytes();
    let half = vec![b'x'; 490_000];
    let first = format!("a APPEND INBOX {{{}+}}\r\n", half.len()).into_bytes();
    let second = format!(" {{{}+}}\r\n", half.len()).into_bytes();
    let two = [&first[..], &half, &second, &half, b"\r\n"].concat();
    let said = send(&mut client, &two);
    assert!(said.starts_with("a BAD One message at a time"), "{said}");
    assert_let_go(&world);
    // What follows the message is not as it must be.
    let odd = [&announced("a APPEND INBOX")[..], &text, b" odd\r\n"].concat();
    let said = send(&mut client, &odd);
    assert!(said.starts_with("a BAD"), "{said}");
    assert_let_go(&world);
    assert_eq!(world.borrow().folders["INBOX"].mails.len(), 0);
}

#[test]
fn an_end_in_the_middle_leaves_nothing() {
    let world = world(&[]);
    let text = text(3);
    for slow in [false, true] {
        let mut client = selected(&world);
        let before = parts_asked(&world);
        client.send(format!("a APPEND INBOX {{{}+}}\r\n", text.len() + 10).as_bytes());
        if !slow {
            send(&mut client, text.as_bytes());
            assert!(parts_asked(&world) > before && Arc::strong_count(&world.borrow().alive) == 2);
        }
        client.slow = slow;
        send(&mut client, text.as_bytes());
        client.step(|session, now, out| session.closed(now, out));
        while slow && !client.closed {
            match parts_asked(&world) - before {
                0 => client.answer(),
                _ => {
                    client.slow = false;
                    client.wait(1);
                }
            }
        }
        assert!(client.closed);
        assert_let_go(&world);
    }
}
