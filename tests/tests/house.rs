//! The rules of the house: which crate may use which, and how the code may look.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines past which a file of code is too large.
const FILE_LINES_MAX: usize = 800;

/// Of the checkout that is tested now: the program of the test may have been compiled in another one, where they share the
/// folder of what is compiled.
fn root() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_owned()
}

/// Our crates: folder relative to the root, and the folders of our crates that each uses.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let folder = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned();
        manifest.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
    };
    let packages = metadata["packages"].as_array().unwrap();
    let by_name: BTreeMap<&str, String> =
        packages.iter().map(|p| (p["name"].as_str().unwrap(), folder(p))).collect();
    let used = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        dependencies
            .filter(|d| d["kind"].as_str() != Some("dev"))
            .filter_map(|d| by_name.get(d["name"].as_str().unwrap()).cloned())
            .collect()
    };
    packages.iter().map(|p| (folder(p), used(p))).collect()
}

/// The floor of a crate in the house.
fn floor(folder: &str) -> &str {
    folder.split('/').next().unwrap()
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("protocols", &["protocols"] as &[&str]),
        ("storage", &[]),
        ("mesh", &[]),
        ("raft", &["storage"]),
        ("engine", &["engine", "mesh", "protocols", "raft", "storage"]),
        ("bench", &["engine", "mesh", "protocols", "raft", "storage"]),
        ("chaos", &["engine", "mesh", "protocols", "raft", "storage"]),
        ("fuzz", &["engine", "mesh", "protocols", "raft", "storage"]),
        ("tests", &[]),
    ]);
    let uses = uses();
    assert!(uses.len() >= 14, "all crates are seen: {uses:?}");
    for (folder, used) in &uses {
        let may =
            allowed.get(floor(folder)).unwrap_or_else(|| panic!("{folder} stands on no floor of the house"));
        for other in used {
            assert!(may.contains(&floor(other)), "{folder} must not use {other}");
        }
    }
}

#[test]
fn the_directory_and_the_mailbox_know_no_network() {
    let uses = uses();
    for pure in ["engine/directory", "engine/mailbox"] {
        for other in ["engine/reactor", "engine/server", "engine/delivery"] {
            assert!(!uses[pure].contains(other), "{pure} must not use {other}");
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if !["target", ".git", "node_modules"].contains(&name.as_str()) {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_are_of_a_size_to_be_read_and_say_what_they_are_for() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 50);
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", path.display());
        let is_test = path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs");
        let head = text.trim_start();
        assert!(
            is_test || head.starts_with("//!") || head.starts_with("#!["),
            "{} does not say at its head what it is for",
            path.display()
        );
    }
}

#[test]
fn unsafe_code_stands_in_the_reactor_alone() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    // The fuzz targets are no part of the product; one of them counts what is allocated.
    let elsewhere = |path: &Path| {
        !path.starts_with(root().join("engine/reactor")) && !path.starts_with(root().join("fuzz"))
    };
    for path in files.iter().filter(|path| elsewhere(path) && !path.ends_with("house.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        let found = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn")
        });
        assert!(!found, "{} has unsafe code", path.display());
    }
}

#[test]
fn nothing_is_named_for_having_no_duty() {
    for folder in uses().keys() {
        let mut files = Vec::new();
        sources(&root().join(folder).join("src"), &mut files);
        for path in files {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            for bad in ["util", "utils", "common", "manager", "helpers", "misc"] {
                assert_ne!(name, bad, "{}", path.display());
            }
        }
    }
}

#[test]
fn every_row_of_the_rfc_index_names_a_file_that_is_there() {
    let text = std::fs::read_to_string(root().join("docs/rfc-index.tsv")).unwrap();
    let mut rows = 0;
    for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns.len(), 4, "section, title, status, file: {line}");
        assert!(["done", "part", "later", "no"].contains(&columns[2]), "{line}");
        if !columns[3].is_empty() {
            assert!(root().join(columns[3]).exists(), "no such file: {line}");
        }
        rows += 1;
    }
    assert!(rows > 30);
}
