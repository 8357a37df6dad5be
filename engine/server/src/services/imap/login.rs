//! LOGIN and AUTHENTICATE.

use super::ImapService;
use super::moment::Stop;
use crate::engine::Seat;
use crate::login::Outcome;
use crate::services::elsewhere::{Found, HandedOver, Speech, find, hand_over};
use estafette_directory::Account;
use estafette_imap::session::Answer;
use estafette_imap::session::ask::{Failure, Refusal};
use estafette_mailbox::AccountRef;

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
            Outcome::Later => return Err(Failure::Unavailable.into()),
        };
        Ok(Answer::Refused(refusal))
    }

    async fn welcome(&mut self, account: &Account) -> Result<Answer, Stop> {
        let Some(shard) = account.shard else { return Ok(Answer::Refused(Refusal::Disabled)) };
        let at = AccountRef { shard, account: account.id };
        match Box::pin(find(&self.engine, at)).await? {
            Found::Here(at) => {
                self.seat = Some(Seat::new(at));
                Ok(Answer::LoggedIn { append_limit: self.engine.config.imap.append_max_bytes })
            }
            Found::Elsewhere(at) => {
                let taken = Box::pin(hand_over(&self.engine, Speech::Imap, self.name, self.peer, at)).await;
                let HandedOver { append_max_bytes, elsewhere } = taken.ok_or(Failure::Unavailable)?;
                self.elsewhere = Some(elsewhere);
                Ok(Answer::LoggedIn { append_limit: append_max_bytes })
            }
            Found::Nowhere => Ok(Answer::Refused(Refusal::Disabled)),
        }
    }
}
