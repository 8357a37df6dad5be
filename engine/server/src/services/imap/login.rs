//! LOGIN and AUTHENTICATE.

use super::ImapService;
use super::moment::Stop;
use crate::engine::EngineError;
use crate::login::Outcome;
use estafette_directory::Account;
use estafette_imap::session::Answer;
use estafette_imap::session::ask::Refusal;
use estafette_mailbox::{AccountRef, Action, Response, read};

impl ImapService {
    pub(super) async fn login(
        &mut self,
        authorization: &str,
        user: &str,
        password: &[u8],
    ) -> Result<Answer, Stop> {
        if !authorization.is_empty() && authorization != user {
            return Ok(Answer::Refused(Refusal::Authorization));
        }
        // What is no text is no password, and takes as long to find wrong.
        let password = String::from_utf8_lossy(password);
        let refusal = match self.engine.login(self.name, user, &password, self.peer.remote.ip()).await {
            Outcome::Welcome(account) => return self.welcome(&account).await,
            Outcome::Wrong => Refusal::Credentials,
            Outcome::Barred => Refusal::Disabled,
            Outcome::TooMany => Refusal::TooMany,
        };
        Ok(Answer::Refused(refusal))
    }

    async fn welcome(&mut self, account: &Account) -> Result<Answer, Stop> {
        let Some(shard) = account.shard else { return Ok(Answer::Refused(Refusal::Disabled)) };
        let at = AccountRef { shard, account: account.id };
        if read::account(&self.engine.store, at)?.is_none() {
            let response = self.engine.shards.mailbox(at, Action::Ensure, Vec::new()).await;
            if let Response::Refused(refusal) = response.map_err(EngineError::from)? {
                tracing::warn!(%refusal, username = %account.username, "a login to an account that is going");
                return Ok(Answer::Refused(Refusal::Disabled));
            }
        }
        self.account = Some(at);
        Ok(Answer::LoggedIn { append_limit: self.engine.config.imap.append_max_bytes })
    }
}
