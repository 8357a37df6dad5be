use super::*;
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("../../../../deploy/estafette.example.toml");

/// The example with every commented setting turned on.
fn uncommented() -> String {
    EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("#") {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_is_all_comments_and_the_defaults() {
    assert_eq!(Config::parse(EXAMPLE).unwrap(), Config::default());
    let all = Config::parse(&uncommented()).unwrap();
    let mut expected = Config::default();
    expected.tls.certificates = all.tls.certificates.clone();
    assert_eq!(all.tls.certificates.len(), 1);
    assert_eq!(all, expected);
}

#[test]
fn the_example_names_every_setting_with_a_comment_before_it() {
    let table: toml::Table = uncommented().parse().unwrap();
    known::check(&table).unwrap();
    let text = uncommented();
    let named: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" = ").map(|(key, _)| key))
        .filter(|key| !key.contains(' ') && !key.starts_with('#'))
        .collect();
    for key in known::keys() {
        let last = key.rsplit('.').next().unwrap().to_owned();
        let section = text.contains(&format!("[{key}]"));
        assert!(section || named.contains(last.as_str()), "the example does not name {key}");
    }
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let setting = line.strip_prefix('#').is_some_and(|l| !l.starts_with(' ') && l.contains(" = "));
        if setting {
            let before = lines[..number].iter().rev().find(|l| l.is_empty() || l.starts_with("# "));
            assert!(
                before.is_some_and(|l| l.starts_with("# ")),
                "no comment before line {}: {line}",
                number + 1
            );
        }
    }
}

#[test]
fn unknown_keys_name_the_nearest() {
    let said = |text: &str| Config::parse(text).unwrap_err().to_string();
    assert_eq!(
        said("[smtp]\nmessage_max_byte = 1"),
        "there is no setting 'smtp.message_max_byte'; did you mean 'smtp.message_max_bytes'?"
    );
    assert_eq!(said("[stmp]\n"), "there is no setting 'stmp'; did you mean 'smtp'?");
    assert_eq!(said("zzzzqqqq = 1"), "there is no setting 'zzzzqqqq'");
    assert!(said("[node]\nshards = 257").contains("node.shards"));
    let low = said("[storage]\nmin_free_bytes = 134217727");
    assert!(low.contains("'storage.min_free_bytes' must be 134217728 (128 MiB) or more"), "{low}");
    let hasty = said("[storage]\ncollect_after_seconds = 4");
    assert!(hasty.contains("'storage.collect_after_seconds' must be 5 or more"), "{hasty}");
    assert!(Config::parse("[storage]\ncollect_after_seconds = 5").is_ok());
    assert!(said("[listen]\nsmtp = [\"nowhere\"]").contains("is no address to listen on"));
    assert!(said("[node\n").contains("not valid TOML"));
}

#[test]
fn networks_of_balancers() {
    let config = Config::parse("[listen]\nproxy_from = [\"192.0.2.0/24\", \"2001:db8::7\"]").unwrap();
    let trusts = |address: &str| config.listen.proxy_from.contain(address.parse().unwrap());
    assert!(trusts("192.0.2.9") && trusts("2001:db8::7") && !trusts("127.0.0.1"));
    assert!(Config::default().listen.proxy_from.is_empty(), "nobody unless it is said");
    let bad = Config::parse("[listen]\nproxy_from = [\"192.0.2.1/24\"]").unwrap_err().to_string();
    assert!(bad.contains("the network is '192.0.2.0/24'"), "{bad}");
}

#[test]
fn ports_move_together_and_only_defaults() {
    let mut config = Config::parse("[listen]\nimap = [\"127.0.0.1:7143\"]").unwrap();
    config.listen.shift_default_ports(10_000).unwrap();
    config.listen.keep_to_loopback();
    assert_eq!(String::from(config.listen.smtp[0]), "127.0.0.1:10025");
    assert_eq!(String::from(config.listen.imap[0]), "127.0.0.1:7143");
}

#[test]
fn ports_do_not_pile_up_at_the_last_one() {
    let mut config = Config::default();
    assert!(config.listen.shift_default_ports(64_541).unwrap_err().to_string().contains("--port-offset"));
    assert!(Config::default().listen.shift_default_ports(64_540).is_ok());
}

#[test]
fn a_wait_for_company_is_bounded() {
    let said =
        |ms: u64| Config::parse(&format!("[raft]\ncompany_wait_ms = {ms}\n")).map(|c| c.raft.company_wait_ms);
    assert_eq!(said(1_000).unwrap(), 1_000);
    assert!(said(1_001).unwrap_err().to_string().contains("0 to 1000"));
    assert!(Config::parse("[raft]\ncommit_wait_ms = 101\n").unwrap_err().to_string().contains("0 to 100"));
}

#[test]
fn other_nodes_are_told_an_address_of_one_node() {
    let told = |listen: &str, advertise: &str| {
        let listen = Endpoint::try_from(listen.to_owned()).unwrap();
        ClusterConfig { listen, advertise: advertise.to_owned(), ..ClusterConfig::default() }.advertised()
    };
    for all in ["*:7400", "0.0.0.0:7400", "[::]:7400"] {
        assert_eq!(told(all, ""), Err(all.to_owned()));
        assert_eq!(told("192.0.2.1:7400", all), Err(all.to_owned()));
        assert_eq!(told(all, "mx1.example.org:7400"), Ok("mx1.example.org:7400".to_owned()));
    }
    assert_eq!(told("[2001:db8::1]:7400", ""), Ok("[2001:db8::1]:7400".to_owned()));
    assert_eq!(ClusterConfig::default().advertised(), Ok("127.0.0.1:7400".to_owned()));
}
