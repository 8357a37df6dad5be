//! What our client writes is read by our parser and by another implementation, alike.

use super::*;
use crate::client::outgoing::Manner;
use crate::codec;
use estafette_types::{DsnNotify, DsnReturn};
use proptest::prelude::*;
use smtp_proto::{
    MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MAIL_REQUIRETLS, MAIL_RET_FULL, MAIL_RET_HDRS, MAIL_SMTPUTF8,
    RCPT_NOTIFY_DELAY, RCPT_NOTIFY_FAILURE, RCPT_NOTIFY_NEVER, RCPT_NOTIFY_SUCCESS, Request,
};

fn all_extensions() -> Extensions {
    Extensions {
        size: Some(0),
        eight_bit_mime: true,
        smtputf8: true,
        dsn: true,
        chunking: true,
        binary_mime: true,
        requiretls: true,
        ..Extensions::default()
    }
}

fn addresses() -> impl Strategy<Value = String> {
    let texts = ["a@example.org", "o'brien+x=y@example.org", "\"a b\"@example.com", "ü@bücher.example"];
    prop::sample::select(texts.map(str::to_owned).to_vec())
}

fn notify() -> impl Strategy<Value = Option<DsnNotify>> {
    let on = (any::<bool>(), any::<bool>(), any::<bool>())
        .prop_filter("one of them", |(success, failure, delay)| *success || *failure || *delay)
        .prop_map(|(success, failure, delay)| DsnNotify::On { success, failure, delay });
    prop::option::of(prop_oneof![Just(DsnNotify::Never), on])
}

fn envelopes() -> impl Strategy<Value = Envelope> {
    let body = prop::sample::select(vec![BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime]);
    let returns = prop::option::of(prop::sample::select(vec![DsnReturn::Full, DsnReturn::Headers]));
    let original = prop::option::of((Just("rfc822".to_owned()), "[!-~ ]{1,30}"));
    let recipient = (addresses(), notify(), original);
    (prop::option::of(addresses()), recipient, body, any::<bool>(), returns, prop::option::of("[!-~ ]{1,30}"))
        .prop_map(|(from, (to, notify, original), body_type, require_tls, dsn_return, dsn_envelope_id)| {
            let recipient = Recipient { path: ForwardPath::Address(address(&to)), notify, original };
            let mut envelope = outgoing(&[], "").envelope;
            envelope.reverse_path =
                from.map_or(ReversePath::Null, |from| ReversePath::Address(address(&from)));
            envelope.recipients = vec![recipient];
            envelope.smtputf8 = true;
            Envelope { body_type, require_tls, dsn_return, dsn_envelope_id, ..envelope }
        })
}

fn manner(mail: &Outgoing, server: &Extensions) -> Manner {
    mail.manner(server, true, false).unwrap()
}

/// As the other implementation gives it: without quotes.
fn unquoted(address: &Address) -> String {
    format!("{}@{}", address.local.as_str(), address.domain)
}

fn other_opinion(line: &str) -> Request<String> {
    Request::parse(&mut line.as_bytes().iter())
        .unwrap_or_else(|error| panic!("{line:?}: {error:?}"))
        .into_owned()
}

proptest! {
    #[test]
    fn mail(envelope in envelopes()) {
        let server = all_extensions();
        let mail = Outgoing::new(envelope.clone(), vec![Bytes::from_static(b"Hi\r\n")]);
        let line = mail.mail_command(manner(&mail, &server), &server);
        let ours = codec::mail(line.trim_end().strip_prefix("MAIL ").unwrap(), true).unwrap();
        let want = Envelope { recipients: Vec::new(), declared_size: Some(4), ..envelope };
        prop_assert_eq!(&ours, &want, "{}", line);
        let Request::Mail { from } = other_opinion(&line) else { panic!("{line}") };
        let reverse_path = match &want.reverse_path {
            ReversePath::Null => String::new(),
            ReversePath::Address(address) => unquoted(address),
        };
        prop_assert_eq!(from.address, reverse_path);
        prop_assert_eq!(from.size, 4);
        prop_assert_eq!(from.env_id, want.dsn_envelope_id);
        let flag = |bit: u64| from.flags & bit != 0;
        prop_assert_eq!(flag(MAIL_BODY_8BITMIME), want.body_type == BodyType::EightBitMime);
        prop_assert_eq!(flag(MAIL_BODY_BINARYMIME), want.body_type == BodyType::BinaryMime);
        prop_assert_eq!(flag(MAIL_RET_FULL), want.dsn_return == Some(DsnReturn::Full));
        prop_assert_eq!(flag(MAIL_RET_HDRS), want.dsn_return == Some(DsnReturn::Headers));
        prop_assert_eq!(flag(MAIL_REQUIRETLS), want.require_tls);
        prop_assert!(flag(MAIL_SMTPUTF8));
    }

    #[test]
    fn rcpt(envelope in envelopes()) {
        let server = all_extensions();
        let mail = Outgoing::new(envelope, Vec::new());
        let line = mail.rcpt_command(0, manner(&mail, &server), &server);
        let want = &mail.envelope.recipients[0];
        let ours = codec::recipient(line.trim_end().strip_prefix("RCPT ").unwrap(), true).unwrap();
        prop_assert_eq!(&ours, want, "{}", line);
        let Request::Rcpt { to } = other_opinion(&line) else { panic!("{line}") };
        let ForwardPath::Address(address) = &want.path else { panic!("{line}") };
        prop_assert_eq!(to.address, unquoted(address));
        prop_assert_eq!(to.orcpt, want.original.as_ref().map(|(_, address)| address.clone()));
        let bits = match want.notify {
            None => 0,
            Some(DsnNotify::Never) => RCPT_NOTIFY_NEVER,
            Some(DsnNotify::On { success, failure, delay }) => {
                u64::from(success) * RCPT_NOTIFY_SUCCESS
                    + u64::from(failure) * RCPT_NOTIFY_FAILURE
                    + u64::from(delay) * RCPT_NOTIFY_DELAY
            }
        };
        prop_assert_eq!(to.flags, bits, "{}", line);
    }
}
