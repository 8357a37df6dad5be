//! Dovecot as Debian ships it: Maildir, its default of syncing before it answers a delivery.

use super::certificate::Certificate;
use super::{Server, Services, answers, free_port, pid_in, wait_for};
use crate::error::BenchError;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How it differs from what Debian ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// It makes durable what is delivered or added, but neither flags nor its indexes.
    AsShipped,
    /// All that is written is durable before it answers (`mail_fsync = always`), as with Estafette.
    Synced,
    /// Idle sessions leave their processes after [`HIBERNATE_SECONDS`].
    Hibernating,
}

/// The pause after which a session in IDLE is put to sleep.
pub(super) const HIBERNATE_SECONDS: u64 = 5;

/// A private Dovecot.
pub(super) struct Dovecot {
    folder: PathBuf,
    pid: u32,
    services: Services,
    accounts: usize,
    stopped: bool,
}

struct Ports {
    lmtp: u16,
    imap: u16,
    imaps: u16,
    pop3: u16,
    pop3s: u16,
}

impl Ports {
    fn free() -> Result<Ports, BenchError> {
        Ok(Ports {
            lmtp: free_port()?,
            imap: free_port()?,
            imaps: free_port()?,
            pop3: free_port()?,
            pop3s: free_port()?,
        })
    }

    fn all_answer(&self) -> bool {
        [self.lmtp, self.imap, self.imaps, self.pop3, self.pop3s].into_iter().all(answers)
    }

    fn services(&self) -> Services {
        let at = |port: u16| Some(format!("127.0.0.1:{port}"));
        Services {
            lmtp: at(self.lmtp),
            smtp: None,
            imap: at(self.imap),
            imaps: at(self.imaps),
            pop3: at(self.pop3),
            pop3s: at(self.pop3s),
        }
    }
}

impl Dovecot {
    /// Starts it with so many accounts in a folder that is empty.
    pub(super) fn start(folder: &Path, accounts: usize, flavour: Flavour) -> Result<Dovecot, BenchError> {
        let ports = Ports::free()?;
        let mail = folder.join("mail");
        std::fs::create_dir_all(&mail)?;
        let owner = Command::new("chown").arg("-R").arg("mail:mail").arg(&mail).status()?;
        if !owner.success() {
            return Err(BenchError::Start { server: "dovecot", why: "it needs root".to_owned() });
        }
        let certificate = Certificate::make(folder)?;
        let config = folder.join("dovecot.conf");
        std::fs::write(&config, settings(folder, &mail, &ports, &certificate, flavour)?)?;
        // A daemon keeps what it is given open, so its words go to a file and not to a pipe.
        let words = folder.join("start.txt");
        let said = std::fs::File::create(&words)?;
        let started =
            Command::new("dovecot").arg("-c").arg(&config).stdout(said.try_clone()?).stderr(said).status();
        if !started.is_ok_and(|status| status.success()) {
            let why = std::fs::read_to_string(&words).unwrap_or_default();
            return Err(BenchError::Start { server: "dovecot", why });
        }
        let pid_file = folder.join("run/master.pid");
        wait_for("dovecot", || pid_file.exists() && ports.all_answer())?;
        let pid = pid_in(&pid_file)
            .ok_or(BenchError::Start { server: "dovecot", why: "no process identifier".to_owned() })?;
        Ok(Dovecot { folder: folder.to_owned(), pid, services: ports.services(), accounts, stopped: false })
    }
}

fn settings(
    folder: &Path,
    mail: &Path,
    ports: &Ports,
    certificate: &Certificate,
    flavour: Flavour,
) -> Result<String, BenchError> {
    let fsync = if flavour == Flavour::Synced { "always" } else { "optimized" };
    let (folder, mail) = (folder.display(), mail.display());
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let mut text = format!(
        "base_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = {folder}/dovecot.log\n\
         protocols = imap pop3 lmtp\nlisten = 127.0.0.1\ndisable_plaintext_auth = no\n\
         ssl = yes\nssl_cert = <{chain}\nssl_key = <{key}\n\
         mail_location = maildir:~/Maildir\nmail_fsync = {fsync}\nmail_uid = mail\nmail_gid = mail\n\
         first_valid_uid = 1\nfirst_valid_gid = 1\nmail_max_userip_connections = 0\n\
         auth_username_format = %Ln\ndefault_client_limit = 40000\n\
         passdb {{\n driver = static\n args = password=secret\n}}\n\
         userdb {{\n driver = static\n args = uid=mail gid=mail home={mail}/%Ln allow_all_users=yes\n}}\n\
         service imap {{\n process_limit = 20000\n}}\nservice pop3 {{\n process_limit = 20000\n}}\n\
         service lmtp {{\n inet_listener lmtp {{\n  address = 127.0.0.1\n  port = {}\n }}\n}}\n\
         namespace inbox {{\n inbox = yes\n separator = /\n mailbox Sent {{\n  auto = create\n }}\n}}\n",
        ports.lmtp
    );
    for (protocol, plain, tls) in [("imap", ports.imap, ports.imaps), ("pop3", ports.pop3, ports.pop3s)] {
        write!(
            text,
            "service {protocol}-login {{\n process_limit = 20000\n inet_listener {protocol} {{\n  port = {plain}\n }}\n \
             inet_listener {protocol}s {{\n  port = {tls}\n  ssl = yes\n }}\n}}\n"
        )
        .map_err(std::io::Error::other)?;
    }
    if flavour == Flavour::Hibernating {
        write!(
            text,
            "imap_hibernate_timeout = {HIBERNATE_SECONDS}s\n\
             service imap {{\n extra_groups = $default_internal_group\n \
             unix_listener imap-master {{\n  user = $default_internal_user\n }}\n}}\n\
             service imap-hibernate {{\n unix_listener imap-hibernate {{\n  mode = 0660\n  \
             group = $default_internal_group\n }}\n}}\n"
        )
        .map_err(std::io::Error::other)?;
    }
    Ok(text)
}

impl Server for Dovecot {
    fn pids(&self) -> Vec<u32> {
        vec![self.pid]
    }
    fn services(&self) -> &Services {
        &self.services
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
