//! Messages whose text cannot be read, at once or in the middle.

use super::*;

const BODY: &str = "Subject: x\r\n\r\ntext\r\n";

/// A client that is ready for a message, after a server without extensions greeted it.
fn ready() -> (Client, Outgoing) {
    let mut client = Client::new(Arc::new(ClientConfig::new("c.example.net")));
    client.step(Event::Connected);
    client.step(Event::Received(&mut BytesMut::from("220 mx\r\n")));
    let actions = client.step(Event::Received(&mut BytesMut::from("250 mx\r\n")));
    assert!(actions.contains(&ClientAction::Ready));
    let mut mail = outgoing(&["b@example.com", "c@example.com"], BODY);
    mail.rest = 1000;
    (client, mail)
}

fn finished(actions: &[ClientAction]) -> Vec<Outcome> {
    let outcomes = actions.iter().find_map(|action| match action {
        ClientAction::Finished(outcomes) => Some(outcomes.clone()),
        _ => None,
    });
    outcomes.unwrap()
}

/// It was taken for one that needs what the server has not, and so returned for good by a false reason.
#[test]
fn a_text_that_cannot_be_looked_at_is_tried_again() {
    for (body_type, smtputf8) in [(BodyType::EightBitMime, false), (BodyType::SevenBit, true)] {
        let (mut client, mut mail) = ready();
        (mail.envelope.body_type, mail.envelope.smtputf8) = (body_type, smtputf8);
        assert_eq!(client.step(Event::Mail(Box::new(mail))), [ClientAction::Look]);
        let actions = client.step(Event::Looked(None));
        let outcomes = finished(&actions);
        assert_eq!(brief(&outcomes), "T451 T451");
        assert_eq!(outcomes[0].reply().text, "the message cannot be read");
        // Nothing was sent of it: the next one may be.
        assert_eq!(actions.last(), Some(&ClientAction::Ready));
        let next = client.step(Event::Mail(Box::new(outgoing(&["d@example.com"], BODY))));
        assert_eq!(next[0], ClientAction::Send(Bytes::from("MAIL FROM:<a@example.org>\r\n")));
    }
}

#[test]
fn a_text_that_ends_too_early_is_not_ended() {
    let (mut client, mail) = ready();
    client.step(Event::Mail(Box::new(mail)));
    for reply in ["250 ok", "250 ok", "250 ok", "354 go"] {
        client.step(Event::Received(&mut BytesMut::from(&*format!("{reply}\r\n"))));
    }
    let actions = client.step(Event::Drained);
    assert_eq!(actions, [ClientAction::Read]);
    let actions = client.step(Event::Text(Vec::new()));
    assert_eq!(brief(&finished(&actions)), "T451 T451");
    assert_eq!(actions.last(), Some(&ClientAction::Close));
}
