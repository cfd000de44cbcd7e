use super::*;

fn largest(lines: &[&'static str]) -> Result<Option<u64>, Malformed> {
    let mut number = LargestNumber::default();
    lines.iter().try_for_each(|line| number.read(&HeaderValue::from_static(line)))?;
    Ok(number.largest())
}

#[test]
fn members_come_in_order_trimmed_without_empty_ones() {
    let members =
        |line| members_of(&HeaderValue::from_static(line)).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(members(" a ,,b"), [b"a", b"b"]);
    assert_eq!(members("\tc, "), [b"c"]);
    assert!(members("").is_empty());
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
    assert_eq!(largest(&[]), Ok(None));
    assert_eq!(largest(&["3"]), Ok(Some(3)));
    assert_eq!(largest(&["3, 9", "5"]), Ok(Some(9)));
}

#[test]
fn one_bad_number_spoils_all() {
    assert_eq!(largest(&["3", "x"]), Err(Malformed));
}
