//! Dovecot as Debian ships it: Maildir, its default of syncing before it answers a delivery.

use super::{Server, answers, free_port, pid_in, wait_for};
use crate::error::BenchError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What Dovecot makes durable before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Its default: messages that are delivered or added, but neither flags nor its indexes.
    AsShipped,
    /// All that is written (`mail_fsync = always`), as Estafette does.
    Always,
}

/// A private Dovecot.
pub(crate) struct Dovecot {
    folder: PathBuf,
    pid: u32,
    lmtp: u16,
    imap: u16,
    pop3: u16,
    accounts: usize,
    sync: Sync,
    stopped: bool,
}

impl Dovecot {
    /// Starts it with so many accounts in a folder that is empty.
    pub(crate) fn start(folder: &Path, accounts: usize, sync: Sync) -> Result<Dovecot, BenchError> {
        let (lmtp, imap, pop3) = (free_port()?, free_port()?, free_port()?);
        let mail = folder.join("mail");
        std::fs::create_dir_all(&mail)?;
        let owner = Command::new("chown").arg("-R").arg("mail:mail").arg(&mail).status()?;
        if !owner.success() {
            return Err(BenchError::Start { server: "dovecot", why: "it needs root".to_owned() });
        }
        let config = folder.join("dovecot.conf");
        std::fs::write(&config, settings(folder, &mail, lmtp, imap, pop3, sync))?;
        // A daemon keeps what it is given open, so its words go to a file and not to a pipe.
        let words = folder.join("start.txt");
        let said = std::fs::File::create(&words)?;
        let started =
            Command::new("dovecot").arg("-c").arg(&config).stdout(said.try_clone()?).stderr(said).status()?;
        if !started.success() {
            let why = std::fs::read_to_string(&words).unwrap_or_default();
            return Err(BenchError::Start { server: "dovecot", why });
        }
        let pid_file = folder.join("run/master.pid");
        wait_for("dovecot", || pid_file.exists() && [lmtp, imap, pop3].into_iter().all(answers))?;
        let pid = pid_in(&pid_file)
            .ok_or(BenchError::Start { server: "dovecot", why: "no process identifier".to_owned() })?;
        Ok(Dovecot { folder: folder.to_owned(), pid, lmtp, imap, pop3, accounts, sync, stopped: false })
    }

    /// The address of its LMTP service.
    pub(crate) fn lmtp_address(&self) -> String {
        format!("127.0.0.1:{}", self.lmtp)
    }
}

fn settings(folder: &Path, mail: &Path, lmtp: u16, imap: u16, pop3: u16, sync: Sync) -> String {
    let fsync = if sync == Sync::Always { "always" } else { "optimized" };
    let (folder, mail) = (folder.display(), mail.display());
    format!(
        "base_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = {folder}/dovecot.log\n\
         protocols = imap pop3 lmtp\nlisten = 127.0.0.1\nssl = no\ndisable_plaintext_auth = no\n\
         mail_location = maildir:~/Maildir\nmail_fsync = {fsync}\nmail_uid = mail\nmail_gid = mail\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n\
         mail_max_userip_connections = 0\nauth_username_format = %Ln\n\
         passdb {{\n driver = static\n args = password=secret\n}}\n\
         userdb {{\n driver = static\n args = uid=mail gid=mail home={mail}/%Ln allow_all_users=yes\n}}\n\
         service imap-login {{\n process_limit = 4096\n inet_listener imap {{\n  port = {imap}\n }}\n inet_listener imaps {{\n  port = 0\n }}\n}}\n\
         service pop3-login {{\n process_limit = 4096\n inet_listener pop3 {{\n  port = {pop3}\n }}\n inet_listener pop3s {{\n  port = 0\n }}\n}}\n\
         service imap {{\n process_limit = 4096\n}}\nservice pop3 {{\n process_limit = 4096\n}}\n\
         service auth {{\n client_limit = 20000\n}}\nservice anvil {{\n client_limit = 20000\n}}\n\
         service lmtp {{\n inet_listener lmtp {{\n  address = 127.0.0.1\n  port = {lmtp}\n }}\n}}\n\
         namespace inbox {{\n inbox = yes\n separator = /\n mailbox Sent {{\n  auto = create\n }}\n}}\n"
    )
}

impl Server for Dovecot {
    fn name(&self) -> &'static str {
        match self.sync {
            Sync::AsShipped => "dovecot",
            Sync::Always => "dovecot-synced",
        }
    }
    fn pids(&self) -> Vec<u32> {
        vec![self.pid]
    }
    fn lmtp(&self) -> Option<String> {
        Some(self.lmtp_address())
    }
    fn smtp(&self) -> Option<String> {
        None
    }
    fn imap(&self) -> Option<String> {
        Some(format!("127.0.0.1:{}", self.imap))
    }
    fn pop3(&self) -> Option<String> {
        Some(format!("127.0.0.1:{}", self.pop3))
    }
    fn recipients(&self) -> Vec<String> {
        (1..=self.accounts).map(|number| format!("user{number:04}@load.test")).collect()
    }
    fn logins(&self) -> Vec<String> {
        (1..=self.accounts).map(|number| format!("user{number:04}:secret")).collect()
    }
    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        let _ = Command::new("doveadm").arg("-c").arg(self.folder.join("dovecot.conf")).arg("stop").status();
        let pid_file = self.folder.join("run/master.pid");
        let _ = wait_for("dovecot", || !pid_file.exists());
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.stop();
    }
}
