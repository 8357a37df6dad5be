//! Postfix as Debian ships it, in front of a Dovecot that it delivers to by LMTP.

use super::dovecot::{Dovecot, Flavour};
use super::{Server, Services, answers, free_port, pid_in, wait_for};
use crate::error::BenchError;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The longest that the queue may take to empty.
const SETTLE_SECONDS_MAX: u64 = 600;
/// The queues in which a message can be.
const QUEUES: [&str; 4] = ["maildrop", "incoming", "active", "deferred"];

/// A private Postfix with its Dovecot.
pub(super) struct Postfix {
    folder: PathBuf,
    pid: u32,
    services: Services,
    dovecot: Dovecot,
    stopped: bool,
}

impl Postfix {
    /// Starts both in a folder that is empty.
    pub(super) fn start(folder: &Path, accounts: usize) -> Result<Postfix, BenchError> {
        let dovecot_folder = folder.join("dovecot");
        std::fs::create_dir_all(&dovecot_folder)?;
        let dovecot = Dovecot::start(&dovecot_folder, accounts, Flavour::AsShipped)?;
        let smtp = free_port()?;
        let config = folder.join("postfix");
        for part in ["postfix", "queue", "lib"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        std::fs::write(
            config.join("main.cf"),
            main_cf(folder, dovecot.services().lmtp.as_deref().unwrap_or_default()),
        )?;
        std::fs::write(config.join("master.cf"), master_cf(smtp)?)?;
        let _ = Command::new("chown").arg("postfix").arg(folder.join("lib")).status()?;
        let words = folder.join("start.txt");
        let said = std::fs::File::create(&words)?;
        let start = Command::new("postfix")
            .arg("-c")
            .arg(&config)
            .arg("start")
            .stdout(said.try_clone()?)
            .stderr(said)
            .status()?;
        if !start.success() {
            let why = std::fs::read_to_string(&words).unwrap_or_default();
            return Err(BenchError::Start { server: "postfix", why });
        }
        let pid_file = folder.join("queue/pid/master.pid");
        wait_for("postfix", || pid_file.exists() && answers(smtp))?;
        let pid = pid_in(&pid_file)
            .ok_or(BenchError::Start { server: "postfix", why: "no process identifier".to_owned() })?;
        let services = Services { smtp: Some(format!("127.0.0.1:{smtp}")), ..Services::default() };
        Ok(Postfix { folder: folder.to_owned(), pid, services, dovecot, stopped: false })
    }

    fn queued(&self) -> usize {
        fn files(folder: &Path) -> usize {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
        }
        QUEUES.iter().map(|queue| files(&self.folder.join("queue").join(queue))).sum()
    }
}

fn main_cf(folder: &Path, lmtp: &str) -> String {
    let folder = folder.display();
    format!(
        "compatibility_level = 3.6\nqueue_directory = {folder}/queue\ndata_directory = {folder}/lib\n\
         mail_owner = postfix\nmyhostname = mx.load.test\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
         mydestination =\nmynetworks = 127.0.0.0/8\nvirtual_mailbox_domains = load.test\nvirtual_mailbox_maps = static:ok\n\
         virtual_transport = lmtp:inet:{lmtp}\nsmtpd_recipient_restrictions = permit\n\
         smtpd_client_connection_count_limit = 0\nmaillog_file_prefixes = {folder}\nmaillog_file = {folder}/mail.log\n"
    )
}

fn master_cf(smtp: u16) -> Result<String, BenchError> {
    let shipped = std::fs::read_to_string("/etc/postfix/master.cf")?;
    let mut text = String::new();
    for line in shipped.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["smtp", "inet", ..] => text.push_str(&format!("127.0.0.1:{smtp} inet n - n - - smtpd\n")),
            [service, kind, private, unprivileged, _, rest @ ..] if !line.starts_with([' ', '#']) => {
                text.push_str(&format!("{service} {kind} {private} {unprivileged} n {}\n", rest.join(" ")));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    if !text.contains("postlogd") {
        text.push_str("postlog unix-dgram n - n - 1 postlogd\n");
    }
    Ok(text)
}

impl Server for Postfix {
    fn pids(&self) -> Vec<u32> {
        [vec![self.pid], self.dovecot.pids()].concat()
    }
    fn services(&self) -> &Services {
        &self.services
    }
    fn recipients(&self) -> Vec<String> {
        self.dovecot.recipients()
    }
    fn logins(&self) -> Vec<String> {
        self.dovecot.logins()
    }
    fn queues(&self) -> bool {
        true
    }
    fn settled(&self) -> Result<(), BenchError> {
        let end = Instant::now() + Duration::from_secs(SETTLE_SECONDS_MAX);
        while self.queued() > 0 {
            if Instant::now() > end {
                return Err(BenchError::Slow(SETTLE_SECONDS_MAX));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        let _ = Command::new("postfix").arg("-c").arg(self.folder.join("postfix")).arg("stop").status();
        self.dovecot.stop();
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.stop();
    }
}
