//! What is stored, and under which names.

use crate::{
    replica::{LEASE, Replica, name},
    server::server,
};
use bytes::Bytes;
use std::{collections::BTreeMap, fs, path::Path};
use tower_singleflight::fleet::engine::{Engine, Entry, Epoch, Landing};

const TAG: &str = "{01010101010101010101010101010101}";
const PART: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const FLIGHT: &str = "01010101010101010000000000000001";
const FOLLOWER: &str = "02020202020202020000000000000001";
const EPOCH: &str = "0707070707070707";

#[tokio::test]
async fn keys_and_values_are_those_of_the_protocol() {
    let server = server!();
    let one = Replica::connected(1, &server.url()).await;
    let two = Replica::connected(2, &server.url()).await;
    let name = name(1);
    let [f, w, r, v, e] = [
        format!("tsf1:{TAG}:f:{PART}"),
        format!("tsf1:{TAG}:w:{PART}"),
        format!("tsf1:{TAG}:r:{FLIGHT}"),
        format!("tsf1:{TAG}:v:{FLIGHT}"),
        format!("tsf1:{TAG}:e"),
    ];
    let get = |key: &str| server.ask::<String>(&format!("GET {key}"));

    one.seal(name.tag(), "group", Epoch::new([7; 8]), LEASE).await.unwrap();
    assert_eq!(server.keys(), [e.as_str()]);
    assert_eq!(get(&e), EPOCH);

    let flight = one.lead(&name).await;
    assert_eq!(server.keys(), [e.as_str(), &f]);
    assert_eq!(get(&f), format!("-{FLIGHT}{EPOCH}"));

    two.follow(&name, flight).await;
    assert_eq!(server.keys(), [e.as_str(), &f, &w]);
    assert_eq!(get(&f), format!("+{FLIGHT}{EPOCH}"));
    assert_eq!(
        server.ask::<BTreeMap<String, String>>(&format!("HGETALL {w}")),
        [(FOLLOWER.into(), "".into())].into()
    );

    one.close(&name, flight, LEASE, true).await.unwrap();
    assert_eq!(server.keys(), [e.as_str(), &r]);
    let landing = Landing { payload: Bytes::from("payload"), keep: LEASE, mark: Some(LEASE) };
    one.land(&name, flight, landing).await.unwrap();
    assert_eq!(server.keys(), [e.as_str(), &f, &r, &v]);
    assert_eq!(get(&f), format!("!{}", "0".repeat(32)));
    assert_eq!(get(&v), "payload");
    assert!(matches!(two.enter(&name, two.token(), LEASE).await, Ok(Entry::Pass { .. })));
    for key in server.keys() {
        assert!(server.ask::<i64>(&format!("PTTL {key}")) > 0, "{key} stays for ever");
    }

    let mut channels: Vec<String> = server.ask("PUBSUB CHANNELS");
    channels.sort();
    assert_eq!(channels, ["tsf1:i:0101010101010101", "tsf1:i:0202020202020202"]);
}

/// Each key that a script touches is one of `KEYS`: a cluster, Dragonfly and others refuse the
/// rest.
#[test]
fn scripts_touch_no_key_that_is_not_declared() {
    let mut calls = 0;
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lua")).unwrap() {
        let file = file.unwrap().path();
        let source = fs::read_to_string(&file).unwrap();
        for call in source.split("redis.").skip(1) {
            let call =
                call.strip_prefix("call(").unwrap_or_else(|| panic!("{}: {call}", file.display()));
            let arguments = arguments(call);
            let keys = match arguments[0].trim_matches('\'') {
                "PUBLISH" => &[],
                "MGET" | "RENAME" => &arguments[1..],
                "GET" | "SET" | "DEL" | "UNLINK" | "EXISTS" | "HSET" | "HDEL" | "HKEYS"
                | "PEXPIRE" | "PTTL" => &arguments[1..2],
                other => panic!("{}: {other} is not in the ACL of the docs", file.display()),
            };
            for key in keys {
                assert!(is_declared(key, &source), "{}: {key} in {call}", file.display());
            }
            calls += 1;
        }
    }
    assert!(calls > 30, "{calls} calls were found");
}

/// The arguments up to the closing bracket.
fn arguments(call: &str) -> Vec<String> {
    let mut depth = 0;
    let mut arguments = vec![String::new()];
    for character in call.chars() {
        match character {
            '(' | '[' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(character);
    }
    arguments.into_iter().map(|argument| argument.trim().to_owned()).collect()
}

/// Whether this is one of `KEYS`, or a variable that is never given anything else.
fn is_declared(key: &str, source: &str) -> bool {
    if key.starts_with("KEYS[") && key.ends_with(']') && key.len() == 7 {
        return true;
    }
    let mut given = 0;
    for line in source.lines() {
        let line = line.trim().trim_start_matches("local ");
        let Some((names, values)) = line.split_once(" = ") else { continue };
        let names: Vec<_> = names.split(", ").collect();
        let Some(place) = names.iter().position(|&name| name == key) else { continue };
        let values = arguments(values);
        assert_eq!(names.len(), values.len(), "{line}");
        if !(values[place] == "nil"
            || values[place].starts_with("KEYS[") && values[place].len() == 7)
        {
            return false;
        }
        given += 1;
    }
    given > 0
}

#[test]
fn the_check_of_scripts_finds_undeclared_keys() {
    assert!(is_declared("KEYS[1]", ""));
    assert!(is_declared("k", "local f, k = redis.call('GET', KEYS[1]), KEYS[3]\nk = KEYS[2]"));
    assert!(!is_declared("k", "local k = 'tsf1:' .. ARGV[1]"));
    assert!(!is_declared("k", "local k = KEYS[1]\nk = ARGV[1]"));
    assert!(!is_declared("ARGV[1]", ""));
    assert!(!is_declared("k", ""));
    assert_eq!(
        arguments("'SET', KEYS[1], '-' .. ARGV[1] .. e, string.sub(f, 2)) return"),
        ["'SET'", "KEYS[1]", "'-' .. ARGV[1] .. e", "string.sub(f, 2)"]
    );
}
