//! The meaning of each header of a request for sharing.

use super::cookies::Cookies;
use crate::http::response::field::members_of;
use http::{HeaderMap, HeaderName, HeaderValue, header::COOKIE};
use smallvec::SmallVec;
use std::fmt;

/// Which headers make a request pass, and which are compared (they *part* requests with different
/// values).
#[derive(Clone)]
pub(crate) struct HeaderRules {
    /// One row for each length of a name. Most rows have at most one header, so a header without a
    /// meaning is found to have none at once.
    pub(super) meanings: [Vec<(HeaderName, Meaning)>; LENGTHS],
    /// How many places are taken.
    pub(super) places: usize,
    /// The cookies that are compared, if `Cookie` is compared and not as a whole.
    pub(super) cookies: Option<Cookies>,
}

/// The last row is for all longer names.
const LENGTHS: usize = 32;

#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// Makes the request pass.
    Passes,
    /// Is compared. Has this place among the compared headers.
    Parts(usize),
}

/// The headers of a request, sorted by their meaning in one pass.
#[derive(Debug, Default)]
pub(crate) struct Sorted<'a> {
    /// The request asks for another protocol.
    pub(crate) upgrade: bool,
    /// The request has a header that makes it pass.
    pub(crate) passing: bool,
    pub(crate) cache_control: bool,
    pub(crate) hosts: Lines<'a, 1>,
    /// The compared headers, in the order of the rules.
    pub(crate) parting: Lines<'a, 8>,
    /// The headers that are compared only if a response varies by them, in the order of the
    /// request. Empty if no response does.
    pub(crate) others: Lines<'a, 16>,
    /// The room that `parting` and `others` need in a partition.
    pub(crate) bytes: usize,
}

/// Some lines of a request. Lines of one header are next to each other.
pub(crate) type Lines<'a, const N: usize> = SmallVec<[Line<'a>; N]>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// Its place among the compared headers, or 0 if it is not compared.
    pub(crate) place: usize,
    pub(crate) name: &'a str,
    pub(crate) value: &'a [u8],
}

impl HeaderRules {
    pub(super) fn new(passing: &[HeaderName], parting: &[HeaderName]) -> Self {
        let mut rules =
            Self { meanings: [const { Vec::new() }; LENGTHS], places: 0, cookies: None };
        passing.iter().for_each(|name| rules.pass(name));
        parting.iter().for_each(|name| rules.part(name));
        rules
    }

    /// Makes requests with this header pass, even if the header is compared.
    pub(super) fn pass(&mut self, name: &HeaderName) {
        self.forget(name);
        self.mean(name, Meaning::Passes);
    }

    /// Compares the whole header.
    pub(super) fn part(&mut self, name: &HeaderName) {
        if *name == COOKIE {
            self.cookies = None;
        }
        if self.meaning_of(name).is_none() {
            let place = self.next_place();
            self.mean(name, Meaning::Parts(place));
        }
    }

    /// Compares these cookies, in addition to the cookies named before.
    pub(super) fn part_cookies(&mut self, names: impl IntoIterator<Item = String>) {
        let known = self.cookies.take();
        self.part(&COOKIE);
        let Some(Meaning::Parts(header)) = self.meaning_of(&COOKIE) else { return };
        let mut cookies = known.unwrap_or_else(|| Cookies::new(header));
        for name in names {
            if !cookies.lists(&name) {
                cookies.list(name, self.next_place());
            }
        }
        self.cookies = Some(cookies);
    }

    fn next_place(&mut self) -> usize {
        self.places += 1;
        self.places - 1
    }

    /// Compares a header that makes requests pass.
    pub(super) fn allow(&mut self, name: &HeaderName) {
        if self.passes(name) {
            self.forget(name);
        }
        self.part(name);
    }

    pub(super) fn unpart(&mut self, name: &HeaderName) {
        if self.parts(name) {
            self.forget(name);
        }
    }

    pub(crate) fn passes(&self, name: &HeaderName) -> bool {
        matches!(self.meaning_of(name), Some(Meaning::Passes))
    }

    pub(crate) fn parts(&self, name: &HeaderName) -> bool {
        matches!(self.meaning_of(name), Some(Meaning::Parts(_)))
    }

    /// Returns the compared header with this place.
    pub(crate) fn name_at(&self, place: usize) -> Option<&str> {
        let place = match &self.cookies {
            Some(cookies) if cookies.has_place(place) => cookies.header(),
            _ => place,
        };
        let parts = |meaning: &Meaning| matches!(meaning, Meaning::Parts(known) if *known == place);
        self.meanings
            .iter()
            .flatten()
            .find(|(_, meaning)| parts(meaning))
            .map(|(name, _)| name.as_str())
    }

    fn mean(&mut self, name: &HeaderName, meaning: Meaning) {
        self.meanings[row(name.as_str())].push((name.clone(), meaning));
    }

    fn forget(&mut self, name: &HeaderName) {
        if *name == COOKIE {
            self.cookies = None;
        }
        self.meanings[row(name.as_str())].retain(|(known, _)| known != name);
    }

    fn meaning_of(&self, name: &HeaderName) -> Option<Meaning> {
        self.meaning_in(row(name.as_str()), name)
    }

    fn meaning_in(&self, row: usize, name: &HeaderName) -> Option<Meaning> {
        self.meanings[row].iter().find(|(known, _)| known == name).map(|(_, meaning)| *meaning)
    }

    /// Sorts the headers of a request into `sorted`, which must be empty. It is passed in because
    /// it is large, and returning it would copy it. `wants_others`: whether a response may vary by
    /// headers that are not compared.
    pub(crate) fn sort<'a>(
        &self,
        headers: &'a HeaderMap,
        wants_others: bool,
        sorted: &mut Sorted<'a>,
    ) {
        let (mut last, mut is_in_order) = (0, true);
        for (name, value) in headers {
            let text = name.as_str();
            let line = |place| Line { place, name: text, value: value.as_bytes() };
            match self.meaning_in(row(text), name) {
                Some(Meaning::Passes) => sorted.passing = true,
                Some(Meaning::Parts(place)) => {
                    is_in_order &= last <= place;
                    last = place;
                    sorted.bytes += 2 + value.len();
                    sorted.parting.push(line(place));
                }
                // Never among the others. HTTP/2 requests have no `Host` header, so a response that
                // varies by it must be a veto where the authority is not compared.
                None if text == "host" => sorted.hosts.push(line(0)),
                None if wants_others => {
                    sorted.bytes += 3 + text.len() + value.len();
                    sorted.others.push(line(0));
                }
                None => {}
            }
            match text {
                "upgrade" => sorted.upgrade = true,
                "connection" => sorted.upgrade |= asks_for_upgrade(value),
                "cache-control" => sorted.cache_control = true,
                _ => {}
            }
        }
        if let Some(cookies) = &self.cookies {
            cookies.pick(&mut sorted.parting);
            is_in_order = false;
        }
        if !is_in_order {
            sorted.parting.sort_by_key(|line| line.place);
        }
    }
}

fn row(name: &str) -> usize {
    name.len().min(LENGTHS - 1)
}

fn asks_for_upgrade(connection: &HeaderValue) -> bool {
    members_of(connection).any(|member| member.eq_ignore_ascii_case(b"upgrade"))
}

impl fmt::Debug for HeaderRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meanings = self.meanings.iter().flatten().map(|(name, meaning)| (name, meaning));
        f.debug_map().entries(meanings).finish()?;
        self.cookies.iter().try_for_each(|cookies| write!(f, " {cookies:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, COOKIE, RANGE, UPGRADE};

    fn headers(names: impl IntoIterator<Item = HeaderName>) -> HeaderMap {
        names.into_iter().map(|name| (name, HeaderValue::from_static("x"))).collect()
    }

    fn parting(rules: &HeaderRules, headers: &HeaderMap) -> Vec<HeaderName> {
        let mut sorted = Sorted::default();
        rules.sort(headers, true, &mut sorted);
        sorted.parting.iter().map(|line| line.name.parse().unwrap()).collect()
    }

    #[test]
    fn headers_part_in_the_order_of_the_rules() {
        let rules = HeaderRules::new(&[], &[COOKIE, ACCEPT, RANGE]);
        assert_eq!(parting(&rules, &headers([RANGE, COOKIE])), [COOKIE, RANGE]);
        assert_eq!(parting(&rules, &headers([COOKIE, RANGE])), [COOKIE, RANGE]);
        assert!(parting(&rules, &headers([UPGRADE])).is_empty());
    }

    #[test]
    fn a_header_that_parts_no_more_leaves_the_others_in_order() {
        let mut rules = HeaderRules::new(&[], &[COOKIE, ACCEPT, RANGE]);
        rules.unpart(&COOKIE);
        assert!(!rules.parts(&COOKIE));
        assert_eq!(parting(&rules, &headers([RANGE, ACCEPT, COOKIE])), [ACCEPT, RANGE]);
        rules.part(&COOKIE);
        assert_eq!(parting(&rules, &headers([RANGE, ACCEPT, COOKIE])), [ACCEPT, RANGE, COOKIE]);
    }

    #[test]
    fn passing_goes_before_parting_until_the_header_is_allowed() {
        let mut rules = HeaderRules::new(&[RANGE], &[RANGE, ACCEPT]);
        rules.pass(&ACCEPT);
        rules.part(&ACCEPT);
        for name in [RANGE, ACCEPT] {
            assert!(rules.passes(&name) && !rules.parts(&name));
            let (headers, mut sorted) = (headers([name.clone()]), Sorted::default());
            rules.sort(&headers, true, &mut sorted);
            assert!(sorted.passing);
            rules.allow(&name);
            assert!(rules.parts(&name) && !rules.passes(&name));
        }
        assert_eq!(parting(&rules, &headers([ACCEPT, RANGE])), [RANGE, ACCEPT]);
    }

    #[test]
    fn cookies_part_in_the_order_in_which_they_were_named() {
        let mut rules = HeaderRules::new(&[], &[COOKIE, ACCEPT]);
        rules.part_cookies(["b".to_owned(), "a".to_owned()]);
        rules.part_cookies(["a".to_owned(), "c".to_owned()]);
        let found = |lines: &[&'static str]| {
            let mut headers: HeaderMap = headers([ACCEPT]);
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_static(line));
            }
            let mut sorted = Sorted::default();
            rules.sort(&headers, true, &mut sorted);
            assert!(sorted.others.is_empty());
            sorted
                .parting
                .iter()
                .map(|line| String::from_utf8(line.value.to_vec()).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&["c=1; a=2", "x=3; b=4; a=5"]), ["x", "4", "2", "5", "1"]);
        assert_eq!(found(&["c=1; a=2", "odd"]), ["c=1; a=2", "odd", "x"]);
        assert_eq!(found(&["x=3"]), ["x"]);
    }

    #[test]
    fn no_number_of_headers_is_too_many_to_tell_apart() {
        let names: Vec<_> =
            (0..100).map(|n| HeaderName::try_from(format!("x-{n}")).unwrap()).collect();
        let rules = HeaderRules::new(&[], &names);
        for name in &names {
            assert!(parting(&rules, &headers([name.clone()])).contains(name), "{name}");
        }
    }
}
