//! How arguments are understood.

use super::{Cli, Command};
use clap::{CommandFactory, Parser};

fn parses(line: &str) -> bool {
    match Cli::try_parse_from(line.split(' ')) {
        Ok(_) => true,
        Err(error) => {
            assert_ne!(error.exit_code(), 0, "{line}");
            assert_eq!(error.exit_code(), 2, "{line}");
            false
        }
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_is_understood() {
    for line in [
        "estafette serve --data /d --config f --demo --demo-accounts 3 --port-offset 1000 --ready-file r",
        "estafette plan create p --storage 10G --mailboxes unlimited --aliases 5",
        "estafette plan list --json",
        "estafette plan change p --rename q --subdomains 3",
        "estafette plan delete p",
        "estafette domain create example.org --plan p --administrator-address boss",
        "estafette domain create sub.example.org --subdomain-of example.org --administrator ex0001",
        "estafette domain list --search ex",
        "estafette domain show example.org",
        "estafette domain change example.org --contact a@example.net --plan q",
        "estafette domain delete example.org --confirm example.org",
        "estafette domain suspend example.org",
        "estafette domain resume example.org",
        "estafette domain alias add example.org example.com",
        "estafette domain alias remove example.org example.com",
        "estafette domain catch-all example.org ex0001",
        "estafette domain catch-all example.org --none",
        "estafette account create a@example.org --name A --quota 1G --role operator --password-stdin",
        "estafette account list --domain example.org --data /d",
        "estafette account show a@example.org",
        "estafette account change ex0001 --role domain-administrator --primary b",
        "estafette account delete ex0001 --confirm ex0001",
        "estafette account password ex0001 --none",
        "estafette account disable ex0001",
        "estafette account enable ex0001",
        "estafette account lock ex0001",
        "estafette account unlock ex0001",
        "estafette account address add ex0001 b@example.org",
        "estafette account address remove ex0001 b",
        "estafette account address disable ex0001 b",
        "estafette account redirect ex0001 c@example.net ex0002 --keep-copy",
        "estafette account redirect ex0001 --none",
        "estafette account services ex0001 --on group,redirect --off mailbox",
        "estafette account quota ex0001 unlimited",
        "estafette account members ex0001 --add a@example.net,ex0002 --keep-copy no",
        "estafette alias create all@example.org ex0001 c@example.net --everyone yes",
        "estafette alias list",
        "estafette alias change all@example.org --add ex0003 --bounce no",
        "estafette alias delete all@example.org",
        "estafette operator create root",
        "estafette operator list",
        "estafette audit --domain example.org --limit 5",
        "estafette status --json",
        "estafette mailbox list ex0001",
        "estafette queue list --search a@example.net",
        "estafette queue show 1-00112233445566778899aabbccddeeff",
        "estafette queue retry 1-00112233445566778899aabbccddeeff --json",
        "estafette queue cancel 1-00112233445566778899aabbccddeeff --notice",
        "estafette import mbox f --account ex0001 --mailbox Old/Mail",
        "estafette import maildir d --account a@example.org",
        "estafette check --data /d --json",
        "estafette config check f",
        "estafette completions zsh",
    ] {
        assert!(parses(line), "{line}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for line in [
        "estafette",
        "estafette unknown",
        "estafette plan create p --storage much",
        "estafette plan create p --mailboxes -1",
        "estafette domain create example.org",
        "estafette domain create example.org --plan p --subdomain-of example.net",
        "estafette account create",
        "estafette account create a@example.org --role king",
        "estafette account create a@example.org --no-password --password-stdin",
        "estafette account redirect ex0001",
        "estafette account redirect ex0001 --none --keep-copy",
        "estafette account redirect ex0001 a@example.net --none",
        "estafette domain catch-all example.org",
        "estafette account quota ex0001 lots",
        "estafette alias create a@example.org --bounce perhaps",
        "estafette import mbox f",
        "estafette audit --limit 0",
        "estafette completions cmd",
        "estafette serve --demo-accounts 3",
    ] {
        assert!(!parses(line), "{line}");
    }
}

#[test]
fn global_options_stand_anywhere() {
    let before = Cli::parse_from(["estafette", "--data", "/d", "--json", "status"]);
    let after = Cli::parse_from(["estafette", "status", "--json", "--data", "/d"]);
    for cli in [before, after] {
        assert!(cli.json && cli.data.as_deref() == Some(std::path::Path::new("/d")));
        assert!(matches!(cli.command, Command::Status));
    }
}
