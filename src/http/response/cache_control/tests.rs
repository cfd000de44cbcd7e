use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};

use super::*;

fn lines(lines: &[&[u8]]) -> HeaderMap {
    let value = |line: &&[u8]| HeaderValue::from_bytes(line).unwrap();
    lines.iter().map(|line| (CACHE_CONTROL, value(line))).collect()
}

fn read(line: &str) -> Result<CacheControl, Malformed> {
    CacheControl::of(&lines(&[line.as_bytes()]), &CACHE_CONTROL)
}

#[test]
fn nothing_said_is_nothing_found() {
    assert_eq!(CacheControl::of(&HeaderMap::new(), &CACHE_CONTROL), Ok(CacheControl::default()));
    for line in ["", " ", ",", " , ,\t,", "x=y, z=\"private\""] {
        assert_eq!(read(line), Ok(CacheControl::default()), "{line:?}");
    }
}

#[test]
fn directive_names_ignore_case() {
    let said = read("No-STORE, Private,NO-cache ,PUBlic, Max-Age=5,S-MaxAge=6").unwrap();
    assert!(said.no_store && said.private && said.no_cache && said.public);
    assert_eq!((said.max_age, said.s_maxage), (Some(5), Some(6)));
}

#[test]
fn a_longer_name_is_another_directive() {
    assert_eq!(read("privately, x-no-store, no-cache2, publicly"), Ok(CacheControl::default()));
}

#[test]
fn directives_with_field_names_still_count() {
    assert!(read("private=\"set-cookie\"").unwrap().private);
    assert!(read("no-cache=\"x, y\"").unwrap().no_cache);
    assert!(read("private=set-cookie").unwrap().private);
}

#[test]
fn commas_and_quotes_inside_a_quoted_string_are_text() {
    let said = read(r#"x="a, no-store, \", private", no-cache"#).unwrap();
    assert_eq!((said.no_store, said.private, said.no_cache), (false, false, true));
}

#[test]
fn all_lines_count() {
    let said = CacheControl::of(&lines(&[b"max-age=60", b"private"]), &CACHE_CONTROL).unwrap();
    assert!(said.private && said.max_age == Some(60));
}

#[test]
fn of_two_lifetimes_the_shorter_counts() {
    let said =
        CacheControl::of(&lines(&[b"max-age=60, max-age=10", b"max-age=30"]), &CACHE_CONTROL)
            .unwrap();
    assert_eq!(said.max_age, Some(10));
}

#[test]
fn a_lifetime_may_be_quoted() {
    assert_eq!(read("max-age=\"60\"").unwrap().max_age, Some(60));
}

#[test]
fn an_unreadable_lifetime_is_zero() {
    for line in ["max-age", "max-age=x", "max-age=-1", "max-age=\"\"", "max-age=60, max-age=1.5"] {
        assert_eq!(read(line).unwrap().max_age, Some(0), "{line:?}");
    }
}

#[test]
fn a_huge_lifetime_is_long() {
    let line = format!("max-age={}", "9".repeat(10_000));
    assert_eq!(read(&line).unwrap().max_age, Some(u64::MAX));
}

#[test]
fn what_breaks_the_grammar_is_malformed() {
    let broken = [
        "\"",
        "\"private\"",
        "private=\"x",
        r#"x="\""#,
        r#"x="a\"#,
        "x=",
        "x=,private",
        "=x",
        "x =1",
        "x= 1",
        "private; max-age=0",
        "max-age=1 private",
        "x=\"a\"b",
        "x=\"a\"\"b\"",
        "x=y=z",
        "pri(vate)",
        "public, \u{e9}",
        "x=\"\u{e9}\"",
    ];
    for line in broken {
        assert_eq!(read(line), Err(Malformed), "{line:?}");
    }
}

#[test]
fn one_malformed_line_spoils_all() {
    let headers = lines(&[b"max-age=60", b"\xff", b"public"]);
    assert_eq!(CacheControl::of(&headers, &CACHE_CONTROL), Err(Malformed));
}
