//! Several sessions at one mailbox do what comes to mind. Each client keeps the list of messages that
//! the responses make; it must agree with them at every moment and with the engine at the end.

use crate::session::Config;
use crate::session::testing::{Client, World, world};
use std::cell::RefCell;
use std::rc::Rc;

const ROUNDS: u64 = 300;
const STEPS: usize = 60;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// What a client knows of one message.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    uid: Option<u32>,
    flags: Option<String>,
}

struct Mirror {
    client: Client,
    known: Vec<Known>,
}

impl Mirror {
    fn new(world: &Rc<RefCell<World>>, batch: u32) -> Mirror {
        let config = Config {
            login_without_tls: true,
            changes_batch: batch,
            fetch_batch_messages: batch,
            store_batch_messages: batch,
            unsent_bytes_max: 40,
            ..Config::default()
        };
        let mut client = Client::with(world, config);
        let told = client.run("a SELECT INBOX");
        let mut mirror = Mirror { client, known: Vec::new() };
        mirror.hear(&told, true);
        mirror
    }

    fn run(&mut self, command: &str) -> String {
        let told = self.client.run(&format!("a {command}"));
        let by_number = ["FETCH", "STORE", "SEARCH"].iter().any(|verb| command.starts_with(verb));
        self.hear(&told, !by_number);
        told
    }

    fn hear(&mut self, told: &str, expunges: bool) {
        for line in told.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let (Some(&"*"), Some(Ok(number))) = (words.first(), words.get(1).map(|n| n.parse::<usize>()))
            else {
                continue;
            };
            match words[2] {
                "EXISTS" => {
                    assert!(number >= self.known.len(), "{told}");
                    self.known.resize(number, Known::default());
                }
                "EXPUNGE" => {
                    assert!(expunges, "{told}");
                    self.known.remove(number - 1);
                }
                "FETCH" => self.learn(number, words[3], told),
                "RECENT" => {}
                other => panic!("{other}: {told}"),
            }
        }
    }

    fn learn(&mut self, number: usize, items: &str, told: &str) {
        let known = &mut self.known[number - 1];
        if let Some(at) = items.find("UID ") {
            let uid: u32 = items[at + 4..].split([' ', ')']).next().unwrap().parse().unwrap();
            assert!(known.uid.is_none_or(|before| before == uid), "{number} {known:?}: {told}");
            known.uid = Some(uid);
        }
        if let Some(at) = items.find("FLAGS (") {
            known.flags = Some(items[at + 7..].split(')').next().unwrap().to_owned());
        }
    }

    fn act(&mut self, dice: &mut Dice) {
        let flag = ["\\Seen", "\\Deleted", "\\Flagged", "$Later"][dice.below(4)];
        let sign = ["", "+", "-"][dice.below(3)];
        let silent = [".SILENT", ""][dice.below(2)];
        let uid = dice.below(30) + 1;
        let number = dice.below(self.known.len().max(1)) + 1;
        let command = match dice.below(14) {
            0 => "NOOP".to_owned(),
            1 => "EXPUNGE".to_owned(),
            2 => format!("UID EXPUNGE {uid}:{}", uid + 3),
            3 => format!("UID STORE {uid}:* {sign}FLAGS{silent} ({flag})"),
            4 | 5 => format!("STORE {number} {sign}FLAGS{silent} ({flag})"),
            6 => format!("FETCH {number}:* (UID FLAGS)"),
            7 => "UID FETCH 1:* (FLAGS)".to_owned(),
            8 => format!("FETCH {number} (UID BODY[])"),
            9 => format!("MOVE {number} Drafts"),
            10 => format!("COPY {number} INBOX"),
            11 => "SEARCH DELETED".to_owned(),
            12 => "APPEND INBOX {1+}\r\nx".to_owned(),
            _ => "IDLE\r\nDONE".to_owned(),
        };
        self.run(&command);
        if silent == ".SILENT" {
            // What a silent STORE does the client knows by itself; here it forgets instead.
            self.known.iter_mut().for_each(|known| known.flags = None);
        }
    }

    fn check(&mut self, world: &Rc<RefCell<World>>) {
        self.run("NOOP");
        let truth: Vec<(u32, String)> = {
            let world = world.borrow();
            let mails = &world.folders["INBOX"].mails;
            let text = |flags: &crate::session::Flags| {
                flags.to_list().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            };
            mails.iter().map(|(uid, mail)| (*uid, text(&mail.flags))).collect()
        };
        assert_eq!(self.known.len(), truth.len());
        for (known, (uid, flags)) in self.known.iter().zip(&truth) {
            assert!(known.uid.is_none_or(|known| known == *uid), "{:?} {truth:?}", self.known);
            assert!(known.flags.as_ref().is_none_or(|known| known == flags), "{:?} {truth:?}", self.known);
        }
    }
}

#[test]
fn every_client_sees_what_is_so() {
    for seed in 1..=ROUNDS {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let world = world(&vec![&b"Subject: x\r\n\r\nbody\r\n"[..]; dice.below(6)]);
        let batch = [1, 2, 1000][dice.below(3)];
        let mut mirrors: Vec<Mirror> = (0..3).map(|_| Mirror::new(&world, batch)).collect();
        for _ in 0..STEPS {
            let who = dice.below(4);
            match mirrors.get_mut(who) {
                Some(mirror) => mirror.act(&mut dice),
                None => _ = world.borrow_mut().deliver("INBOX", b"\r\nnew\r\n"),
            }
        }
        mirrors.iter_mut().for_each(|mirror| mirror.check(&world));
    }
}
