//! The same commands read by another parser (imap-codec): what it reads and prints again, in its own
//! form, must mean the same here.

use super::*;
use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::encode::Encoder;
use proptest::prelude::*;

/// The command in the other's words; `None` when it does not read it.
fn opinion(bytes: &[u8]) -> Option<Vec<u8>> {
    let (rest, command) = CommandCodec::default().decode(bytes).ok()?;
    rest.is_empty().then(|| CommandCodec::default().encode(&command).dump())
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9.$-]{1,8}".prop_filter("not NIL", |s| !s.eq_ignore_ascii_case("NIL")),
        "\"[a-z ()%*{}]{0,8}\"",
        Just("\"a\\\"\\\\b\"".to_owned()),
        "[a-z \"\\\\]{0,9}".prop_map(|s| format!("{{{}}}\r\n{s}", s.len())),
        "[a-z]{1,5}".prop_map(|s| format!("{{{}+}}\r\n{s}", s.len())),
    ]
}

fn set() -> impl Strategy<Value = String> {
    prop::collection::vec("([1-9][0-9]{0,8}|\\*)(:([1-9][0-9]{0,8}|\\*))?", 1..5)
        .prop_map(|parts| parts.join(","))
}

fn date() -> impl Strategy<Value = String> {
    "([1-9]|1[0-9]|2[0-8])-(Jan|Feb|Jul|Dec)-(19[789]|20[0-3])[0-9]"
}

fn key() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "(ALL|ANSWERED|DELETED|DRAFT|FLAGGED|NEW|OLD|RECENT|SEEN|UNANSWERED|UNDELETED|UNDRAFT|UNFLAGGED|UNSEEN)",
        ("(BCC|BODY|CC|FROM|SUBJECT|TEXT|TO)", string()).prop_map(|(name, text)| format!("{name} {text}")),
        ("(BEFORE|ON|SINCE|SENTBEFORE|SENTON|SENTSINCE)", date())
            .prop_map(|(name, date)| format!("{name} {date}")),
        (string(), string()).prop_map(|(field, text)| format!("HEADER {field} {text}")),
        "(LARGER|SMALLER|OLDER|YOUNGER|MODSEQ) [1-9][0-9]{0,6}",
        "(KEYWORD|UNKEYWORD) [a-z$]{1,8}",
        set(),
        set().prop_map(|set| format!("UID {set}")),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| format!("NOT {key}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("OR {a} {b}")),
            prop::collection::vec(inner, 1..3).prop_map(|keys| format!("({})", keys.join(" "))),
        ]
    })
}

fn attribute() -> impl Strategy<Value = String> {
    let fields =
        prop::collection::vec("[A-Z][a-z-]{0,6}", 1..4).prop_map(|names| format!("({})", names.join(" ")));
    let section = prop_oneof![
        "([1-9](\\.[1-9]){0,3})?",
        "([1-9]\\.){0,3}(HEADER|TEXT)",
        "([1-9]\\.){1,3}MIME",
        ("([1-9]\\.){0,2}HEADER\\.FIELDS(\\.NOT)?", fields)
            .prop_map(|(name, fields)| format!("{name} {fields}")),
    ];
    prop_oneof![
        "(FLAGS|UID|INTERNALDATE|RFC822|RFC822\\.SIZE|RFC822\\.HEADER|RFC822\\.TEXT|ENVELOPE|BODY|BODYSTRUCTURE|MODSEQ)",
        ("BODY(\\.PEEK)?", section, "(<[0-9]{1,4}\\.[1-9][0-9]{0,4}>)?")
            .prop_map(|(name, section, partial)| format!("{name}[{section}]{partial}")),
        "BINARY(\\.PEEK)?\\[([1-9](\\.[1-9]){0,3})?\\](<[0-9]{1,4}\\.[1-9]>)?",
        "BINARY\\.SIZE\\[[1-9](\\.[1-9]){0,3}\\]",
    ]
}

fn flags() -> impl Strategy<Value = String> {
    let flag = "(\\\\Seen|\\\\Answered|\\\\Deleted|\\\\Draft|\\\\Flagged|[a-z$]{1,5})";
    prop::collection::vec(flag, 0..5).prop_map(|flags| format!("({})", flags.join(" ")))
}

fn any_command() -> impl Strategy<Value = String> {
    let uid = || "(UID )?";
    let since = "( \\(CHANGEDSINCE [1-9][0-9]{0,6}\\))?";
    prop_oneof![
        "(CAPABILITY|NOOP|LOGOUT|STARTTLS|CHECK|CLOSE|EXPUNGE|IDLE|NAMESPACE|UNSELECT)",
        (string(), string()).prop_map(|(user, password)| format!("LOGIN {user} {password}")),
        ("(SELECT|EXAMINE|CREATE|DELETE|SUBSCRIBE|UNSUBSCRIBE|GETQUOTAROOT)", string())
            .prop_map(|(verb, name)| format!("{verb} {name}")),
        (string(), string()).prop_map(|(from, to)| format!("RENAME {from} {to}")),
        ("(LIST|LSUB)", string(), "([a-z%*/]{1,6}|\"[a-z%*]{0,5}\")")
            .prop_map(|(verb, reference, pattern)| format!("{verb} {reference} {pattern}")),
        (string(), "\\((MESSAGES|UNSEEN)( UIDNEXT)?( UIDVALIDITY)?( RECENT)?( HIGHESTMODSEQ)?\\)")
            .prop_map(|(name, items)| format!("STATUS {name} {items}")),
        (string(), flags(), "( \"( 1|17)-Jul-1996 02:44:25 [-+]0700\")?", "[a-z \r\n]{0,9}").prop_map(
            |(name, flags, date, body)| {
                format!("APPEND {name} {flags}{date} {{{}}}\r\n{body}", body.len())
            }
        ),
        (uid(), prop::collection::vec(key(), 1..3))
            .prop_map(|(uid, keys)| format!("{uid}SEARCH {}", keys.join(" "))),
        (uid(), set(), prop::collection::vec(attribute(), 1..4), since).prop_map(
            |(uid, set, items, since)| { format!("{uid}FETCH {set} ({}){since}", items.join(" ")) }
        ),
        (uid(), set(), "(ALL|FULL|FAST|UID)").prop_map(|(uid, set, name)| format!("{uid}FETCH {set} {name}")),
        (uid(), set(), "( \\(UNCHANGEDSINCE [0-9]{1,6}\\))?", "[-+]?FLAGS(\\.SILENT)?", flags())
            .prop_map(|(uid, set, since, verb, flags)| format!("{uid}STORE {set}{since} {verb} {flags}")),
        (uid(), "(COPY|MOVE)", set(), string())
            .prop_map(|(uid, verb, set, name)| format!("{uid}{verb} {set} {name}")),
        set().prop_map(|set| format!("UID EXPUNGE {set}")),
        Just("ENABLE CONDSTORE UTF8=ACCEPT".to_owned()),
        Just("AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=".to_owned()),
        Just("SELECT x (CONDSTORE)".to_owned()),
        Just("SELECT x (QRESYNC (67890007 20050715194045000 41,43:211 (1,3 5,7)))".to_owned()),
        Just("SETQUOTA \"\" (STORAGE 512)".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn both_read_the_same(text in any_command()) {
        let line = format!("A1 {text}\r\n").into_bytes();
        let ours = parse_in(&line, Dialect::Ascii);
        let Some(theirs) = opinion(&line) else { return Err(TestCaseError::fail(format!("only here: {text:?}"))) };
        prop_assert_eq!(&ours, &parse_in(&theirs, Dialect::Ascii));
        prop_assert!(ours.is_ok(), "{:?}", ours);
    }

    /// One byte is wrong: when both still read a command, it is the same one.
    #[test]
    fn what_both_read_of_a_broken_command_is_the_same(text in any_command(), at in any::<prop::sample::Index>(), byte in prop::option::of(0x20u8..0x7f)) {
        let mut line = format!("A1 {text}").into_bytes();
        let at = at.index(line.len());
        match byte {
            Some(byte) => line[at] = byte,
            None => _ = line.remove(at),
        }
        line.extend_from_slice(b"\r\n");
        let announced = |line: &[u8]| line.iter().filter(|b| **b == b'{').count();
        if announced(&line) == 0 && let (Ok(ours), Some(theirs)) = (parse_in(&line, Dialect::Ascii), opinion(&line)) {
            prop_assert_eq!(Ok(ours), parse_in(&theirs, Dialect::Ascii), "{}", line.escape_ascii());
        }
    }
}
