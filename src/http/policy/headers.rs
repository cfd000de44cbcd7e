//! What each header of a request means for sharing.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONNECTION, UPGRADE},
};

use crate::http::field::members_of;

/// Which headers make a request pass, and which part it from others. By name, so that a request is read in one walk,
/// however long the lists are.
#[derive(Clone, Debug)]
pub(crate) struct HeaderRules {
    meanings: HeaderMap<Meaning>,
    /// A bit for each length of a name that has a meaning, or had one: most names have none, and need not be looked up.
    lengths: u64,
    /// In the order in which a partition has them.
    parting: Vec<HeaderName>,
}

#[derive(Clone, Copy, Debug)]
enum Meaning {
    Passes,
    /// With the place in `parting`.
    Parts(usize),
}

/// What one walk over the headers of a request found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// It wants to change the protocol.
    pub(crate) upgrade: bool,
    /// It has one of the headers that pass.
    pub(crate) passing: bool,
    pub(crate) cache_control: bool,
    /// A bit for each place in `parting`, the last for all from there on.
    parting: u64,
}

impl HeaderRules {
    pub(super) fn new(passing: &[HeaderName], parting: &[HeaderName]) -> Self {
        let mut rules = Self { meanings: HeaderMap::default(), lengths: 0, parting: Vec::new() };
        passing.iter().for_each(|name| rules.pass(name));
        parting.iter().for_each(|name| rules.part(name));
        rules
    }

    /// Passing goes before parting.
    pub(super) fn pass(&mut self, name: &HeaderName) {
        self.unpart(name);
        self.mean(name, Meaning::Passes);
    }

    pub(super) fn part(&mut self, name: &HeaderName) {
        if !self.meanings.contains_key(name) {
            self.mean(name, Meaning::Parts(self.parting.len()));
            self.parting.push(name.clone());
        }
    }

    /// Parts what would pass.
    pub(super) fn allow(&mut self, name: &HeaderName) {
        if self.passes(name) {
            self.meanings.remove(name);
        }
        self.part(name);
    }

    pub(super) fn unpart(&mut self, name: &HeaderName) {
        if self.parts(name) {
            self.meanings.remove(name);
            self.parting.retain(|known| known != name);
            for (place, name) in self.parting.iter().enumerate() {
                self.meanings.insert(name, Meaning::Parts(place));
            }
        }
    }

    pub(crate) fn passes(&self, name: &HeaderName) -> bool {
        matches!(self.meaning_of(name), Some(Meaning::Passes))
    }

    pub(crate) fn parts(&self, name: &HeaderName) -> bool {
        matches!(self.meaning_of(name), Some(Meaning::Parts(_)))
    }

    fn mean(&mut self, name: &HeaderName, meaning: Meaning) {
        self.lengths |= bit(name.as_str().len());
        self.meanings.insert(name, meaning);
    }

    fn meaning_of(&self, name: &HeaderName) -> Option<&Meaning> {
        if self.lengths & bit(name.as_str().len()) == 0 { None } else { self.meanings.get(name) }
    }

    pub(crate) fn find(&self, headers: &HeaderMap) -> Found {
        let mut found = Found::default();
        for (name, line) in headers {
            match self.meaning_of(name) {
                Some(Meaning::Passes) => found.passing = true,
                Some(Meaning::Parts(place)) => found.parting |= bit(*place),
                None => {}
            }
            found.upgrade |= asks_for_upgrade(name, line);
            found.cache_control |= name == CACHE_CONTROL;
        }
        found
    }

    /// The headers that part a request with these; perhaps some more that it lacks.
    pub(crate) fn parting(&self, found: &Found) -> impl Iterator<Item = &HeaderName> {
        let names = self.parting.iter().enumerate();
        names.filter(|(place, _)| found.parting & bit(*place) != 0).map(|(_, name)| name)
    }
}

/// The last is for all from there on.
fn bit(place: usize) -> u64 {
    1 << place.min(63)
}

fn asks_for_upgrade(name: &HeaderName, line: &HeaderValue) -> bool {
    name == UPGRADE || (name == CONNECTION && members_of(line).any(|member| member.eq_ignore_ascii_case(b"upgrade")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, COOKIE, RANGE};

    fn headers(names: impl IntoIterator<Item = HeaderName>) -> HeaderMap {
        names.into_iter().map(|name| (name, HeaderValue::from_static("x"))).collect()
    }

    fn parting(rules: &HeaderRules, headers: &HeaderMap) -> Vec<HeaderName> {
        rules.parting(&rules.find(headers)).cloned().collect()
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
            assert!(rules.find(&headers([name.clone()])).passing);
            rules.allow(&name);
            assert!(rules.parts(&name) && !rules.passes(&name));
        }
        assert_eq!(parting(&rules, &headers([ACCEPT, RANGE])), [RANGE, ACCEPT]);
    }

    #[test]
    fn no_number_of_headers_is_too_many_to_tell_apart() {
        let names: Vec<_> = (0..100).map(|n| HeaderName::try_from(format!("x-{n}")).unwrap()).collect();
        let rules = HeaderRules::new(&[], &names);
        for name in &names {
            assert!(parting(&rules, &headers([name.clone()])).contains(name), "{name}");
        }
    }
}
