use http::{HeaderMap, HeaderValue, header::AGE};

use super::*;

fn ages(lines: &[&'static str]) -> HeaderMap {
    let lines = lines.iter().map(|line| (AGE, HeaderValue::from_static(line)));
    lines.collect()
}

#[test]
fn members_come_from_all_lines_in_order_trimmed_without_empty_ones() {
    let mut headers = HeaderMap::new();
    headers.append(AGE, HeaderValue::from_static(" a ,,b"));
    headers.append(AGE, HeaderValue::from_static(""));
    headers.append(AGE, HeaderValue::from_static("\tc, "));
    let found: Vec<_> = members(&headers, &AGE).collect();
    assert_eq!(found, [b"a", b"b", b"c"]);
}

#[test]
fn a_number_is_digits_and_nothing_else() {
    assert_eq!(number(b"007"), Ok(7));
    for not in ["", "-1", "+1", "1.5", " 1", "1s", "0x1", "\u{661}"] {
        assert_eq!(number(not.as_bytes()), Err(Malformed), "{not:?}");
    }
}

#[test]
fn a_number_beyond_u64_is_the_largest_there_is() {
    assert_eq!(number(&[b'9'; 100]), Ok(u64::MAX));
}

#[test]
fn of_several_numbers_the_largest_counts() {
    assert_eq!(largest_number(&ages(&[]), &AGE), Ok(None));
    assert_eq!(largest_number(&ages(&["3"]), &AGE), Ok(Some(3)));
    assert_eq!(largest_number(&ages(&["3, 9", "5"]), &AGE), Ok(Some(9)));
}

#[test]
fn one_bad_number_spoils_all() {
    assert_eq!(largest_number(&ages(&["3", "x"]), &AGE), Err(Malformed));
}
