//! Compares `classify`, `foreign_vary` and `fresh_for` with slow restatements of their rules on
//! plain text.

use http::{HeaderValue, Response};
use http_body::SizeHint;
use proptest::{collection::vec, prelude::*, sample::select, string::string_regex};

use super::{ResponseClass, ResponseFacts};
use crate::http::policy::HttpPolicy;

type Lines = Vec<(&'static str, Vec<u8>)>;

fn build(status: u16, lines: &Lines) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in lines {
        response = response.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    response.body(()).unwrap()
}

fn of<'a>(lines: &'a Lines, name: &str) -> Vec<&'a [u8]> {
    let named = lines.iter().filter(|(n, _)| *n == name);
    named.map(|(_, value)| &**value).collect()
}

/// All lines as one text; bytes that are not ASCII as a character no grammar has.
fn text(lines: &Lines, name: &str) -> String {
    let plain = |b: &u8| {
        if b.is_ascii() { char::from(*b) } else { '\u{fffd}' }
    };
    let lines = of(lines, name);
    let lines: Vec<String> = lines.iter().map(|l| l.iter().map(plain).collect()).collect();
    lines.join(",")
}

fn is_token(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
    !text.is_empty() && text.chars().all(fine)
}

fn is_quoted(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return false;
    };
    let plain = inside.replace("\\\\", "").replace("\\\"", "");
    !plain.contains('"') && !plain.ends_with('\\')
}

/// The parts between the commas that stand outside quotes; `None` if the last
/// quote never closes.
fn split_outside_quotes(line: &str) -> Option<Vec<String>> {
    let (mut parts, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in line.chars() {
        if c == ',' && !quoted {
            parts.push(String::new());
            continue;
        }
        parts.last_mut()?.push(c);
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
    }
    (!quoted).then_some(parts)
}

/// Name and argument of each directive; `None` if a line breaks the grammar.
fn directives(lines: &Lines) -> Option<Vec<(String, Option<String>)>> {
    let mut found = Vec::new();
    for line in of(lines, "cache-control") {
        let line = std::str::from_utf8(line).ok().filter(|line| line.is_ascii())?;
        for part in split_outside_quotes(line)? {
            let part = part.trim();
            let (name, argument) = match part.split_once('=') {
                Some((name, argument)) => (name, Some(argument)),
                None => (part, None),
            };
            if part.is_empty() {
                continue;
            }
            if !is_token(name) || !argument.is_none_or(|a| is_token(a) || is_quoted(a)) {
                return None;
            }
            let argument = argument.map(|a| a.trim_matches('"').to_owned());
            found.push((name.to_lowercase(), argument));
        }
    }
    Some(found)
}

fn followers_may_have(status: u16, lines: &Lines, size: u64, head: bool) -> bool {
    let said = directives(lines);
    let is_public = said.iter().flatten().any(|(n, _)| n == "public");
    let storable = [200, 203, 204, 300, 301, 304, 308].contains(&status)
        || status >= 400
        || (status != 206 && (is_public || lifetime(lines) > 0));
    let forbidding = ["private", "no-store", "no-cache"];
    let allowed = said.is_some_and(|said| said.iter().all(|(n, _)| !forbidding.contains(&&**n)));
    let varies = text(lines, "vary");
    let types = text(lines, "content-type").to_lowercase();
    let endless = ["text/event-stream", "multipart/x-mixed-replace"];
    let ends = types.split(',').all(|t| !endless.contains(&t.split(';').next().unwrap().trim()));
    let lengths = text(lines, "content-length");
    let short = head
        || status == 304
        || numbers(&lengths).is_some_and(|all| all.iter().all(|n| *n <= LIMIT));
    status >= 200
        && !is_refusal(status)
        && storable
        && of(lines, "set-cookie").is_empty()
        && allowed
        && varies
            .split(',')
            .all(|name| name.trim().is_empty() || (is_token(name.trim()) && name.trim() != "*"))
        && ends
        && short
        && size <= LIMIT
}

fn is_refusal(status: u16) -> bool {
    status == 511 || ((400..500).contains(&status) && ![404, 410, 451].contains(&status))
}

const LIMIT: u64 = 16 * 1024 * 1024;

/// `None` if one of them is no number; a digit too many is just large.
fn numbers(list: &str) -> Option<Vec<u64>> {
    let members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    let number = |m: &str| {
        let digits = m.chars().all(|c| c.is_ascii_digit());
        digits.then(|| m.parse().unwrap_or(u64::MAX))
    };
    members.map(number).collect()
}

fn says_fresh(lines: &Lines) -> bool {
    let Some(said) = directives(lines) else {
        return false;
    };
    let has = |name: &str| said.iter().any(|(n, _)| n == name);
    let contradicted = has("private") || has("no-store") || has("no-cache");
    let age = numbers(&text(lines, "age")).map(|ages| ages.into_iter().max().unwrap_or(0));
    !contradicted && age.is_some_and(|age| lifetime(lines) > age)
}

/// Seconds; 0 if nothing readable says otherwise.
fn lifetime(lines: &Lines) -> u64 {
    let said = directives(lines).unwrap_or_default();
    let seconds = |name: &str| {
        let arguments = said.iter().filter(|(n, _)| n == name).map(|(_, a)| a.clone());
        let read =
            |a: Option<String>| numbers(&a.unwrap_or_default()).and_then(|n| n.first().copied());
        arguments.map(|a| read(a).unwrap_or(0)).min()
    };
    seconds("s-maxage").or(seconds("max-age")).unwrap_or(0)
}

fn cache_control() -> impl Strategy<Value = Vec<u8>> {
    let directive = "(private|no-store|No-Cache|public|max-age=[0-9]{1,2}|S-maxage=\"?[0-9]{1,2}\"?|max-age=[a-z0-9]?|x=\"[a-z, \\\\\"]{0,4}\"|private=\"[a-z,]{0,3}\")";
    let list = format!("{directive}?([ \t]{{0,1}},[ \t]{{0,1}}{directive}){{0,2}}");
    prop_oneof![
        6 => string_regex(directive).unwrap().prop_map(String::into_bytes),
        6 => string_regex(&list).unwrap().prop_map(String::into_bytes),
        2 => string_regex("[a-z=\",; \\\\]{0,8}").unwrap().prop_map(String::into_bytes),
        1 => Just(b"public, \xff".to_vec()),
        1 => Just([b"x=\"", &[b','; 50_000][..], b"\", private"].concat()),
    ]
}

fn line() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let pick =
        |values: &[&'static str]| select(values.to_vec()).prop_map(|v| v.as_bytes().to_vec());
    let vary = ["accept", "X-Tenant, Cookie", "", "*", "x-a,, x-b", "a b", "x-a,*", "\"x\""];
    let types =
        ["text/html", "TEXT/event-stream; x=y", "multipart/x-mixed-replace", "", "text/plain;a"];
    let lengths = ["5", "16777216", "16777217", "x", "99999999999999999999999999", "4, 5", ""];
    let ages = ["0", "5", "50", "x", "-1", "1, 99", ""];
    prop_oneof![
        8 => cache_control().prop_map(|v| ("cache-control", v)),
        3 => pick(&vary).prop_map(|v| ("vary", v)),
        3 => pick(&types).prop_map(|v| ("content-type", v)),
        2 => pick(&lengths).prop_map(|v| ("content-length", v)),
        3 => pick(&ages).prop_map(|v| ("age", v)),
        1 => Just(("set-cookie", b"a=b".to_vec())),
        2 => Just(("etag", b"\"private\"".to_vec())),
    ]
}

fn response() -> impl Strategy<Value = (u16, Lines)> {
    let status = prop_oneof![
        8 => Just(200u16),
        4 => select(vec![201, 204, 206, 302, 303, 304, 307, 404, 421, 429, 500, 503]),
        1 => 100u16..=999,
    ];
    (status, vec(line(), 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn followers_get_a_response_exactly_if_the_contract_says_so(
        (status, lines) in response(),
        size in prop_oneof![8 => Just(0), 1 => LIMIT - 1..LIMIT + 3],
        head in any::<bool>(),
    ) {
        let policy = HttpPolicy::default();
        let parts = build(status, &lines);
        let facts = ResponseFacts::in_headers(&policy, parts.headers());
        let found = policy.classify(&facts, &parts, &SizeHint::with_exact(size), head);
        let may_have = followers_may_have(status, &lines, size, head);
        prop_assert_eq!(found == ResponseClass::Shared, may_have, "{:?}", found);
        prop_assert_eq!(found.is_refusal(), is_refusal(status), "{:?}", found);
    }

    #[test]
    fn a_response_is_fresh_exactly_if_it_says_so((status, lines) in response()) {
        let response = build(status, &lines);
        let facts = ResponseFacts::in_headers(&HttpPolicy::default(), response.headers());
        let found = facts.fresh_for().is_some();
        prop_assert_eq!(found, says_fresh(&lines));
    }

    #[test]
    fn every_name_in_vary_is_compared_one_way_or_the_other((status, lines) in response()) {
        let parts = build(status, &lines);
        let policy = HttpPolicy::default();
        let foreign = policy.foreign_vary(&ResponseFacts::in_headers(&policy, parts.headers()));
        let varies = text(&lines, "vary").to_lowercase();
        let names = varies.split(',').map(str::trim).filter(|name| !name.is_empty());
        let readable = names.clone().all(|name| is_token(name) && name != "*");
        for name in names.filter(|_| readable) {
            let listed = ["accept", "cookie"].contains(&name);
            prop_assert_eq!(foreign.iter().any(|f| f == name), !listed);
        }
        prop_assert!(readable || foreign.is_empty());
    }
}
