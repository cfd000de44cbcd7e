use super::*;

fn vary(lines: &[&[u8]]) -> Result<Vary, Malformed> {
    let mut vary = Vary::default();
    lines.iter().try_for_each(|line| vary.read(&HeaderValue::from_bytes(line).unwrap()))?;
    Ok(vary)
}

fn names(names: &[&'static str]) -> Result<Vary, Malformed> {
    let names = names.iter().map(|name| HeaderName::from_static(name));
    Ok(Vary::Headers(names.collect()))
}

#[test]
fn without_vary_nothing_varies() {
    assert_eq!(vary(&[]), names(&[]));
    assert_eq!(vary(&[b"", b" ,"]), names(&[]));
}

#[test]
fn names_come_sorted_in_lower_case_and_once() {
    let found = vary(&[b"X-Tenant, accept", b"x-tenant,,Accept"]);
    assert_eq!(found, names(&["accept", "x-tenant"]));
}

#[test]
fn a_star_anywhere_is_anything() {
    assert_eq!(vary(&[b"*"]), Ok(Vary::Anything));
    assert_eq!(vary(&[b"accept", b"cookie, *"]), Ok(Vary::Anything));
}

#[test]
fn what_is_no_name_is_malformed() {
    for line in [&b"a b"[..], b"\"accept\"", b"accept; x", b"\xff", b"accept, @"] {
        assert_eq!(vary(&[line]), Err(Malformed), "{line:?}");
    }
}
