//! Which responses followers get, judged by the head alone.

use crate::http::{
    policy::{HttpPolicy, StatusRule},
    response::cache_control::CacheControl,
    response::field::{LargestNumber, Malformed, members_of},
    response::vary::Vary,
};
use crate::stats::VetoReason;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, SET_COOKIE, VARY},
};
use http_body::SizeHint;
use std::time::Duration;

/// What a response says about who may have it, and for how long: what one walk over its headers found.
pub(in crate::http) struct ResponseFacts {
    cache_control: Result<CacheControl, Malformed>,
    vary: Result<Vary, Malformed>,
    age: Result<LargestNumber, Malformed>,
    length: Result<LargestNumber, Malformed>,
    sets_cookie: bool,
    has_vetoed_type: bool,
}

impl ResponseFacts {
    pub(in crate::http) fn in_headers(policy: &HttpPolicy, headers: &HeaderMap) -> Self {
        let mut facts = Self {
            cache_control: Ok(CacheControl::default()),
            vary: Ok(Vary::default()),
            age: Ok(LargestNumber::default()),
            length: Ok(LargestNumber::default()),
            sets_cookie: false,
            has_vetoed_type: false,
        };
        for (name, line) in headers {
            facts.read(policy, name, line);
        }
        facts
    }

    fn read(&mut self, policy: &HttpPolicy, name: &HeaderName, line: &HeaderValue) {
        match *name {
            CACHE_CONTROL => read(&mut self.cache_control, |directives| directives.read(line)),
            VARY => read(&mut self.vary, |vary| vary.read(line)),
            AGE => read(&mut self.age, |age| age.read(line)),
            CONTENT_LENGTH => read(&mut self.length, |length| length.read(line)),
            CONTENT_TYPE => self.has_vetoed_type |= policy.vetoes_content_type(line),
            SET_COOKIE => self.sets_cookie = true,
            _ => {}
        }
    }

    fn allows_storing(&self) -> bool {
        self.cache_control.as_ref().is_ok_and(CacheControl::allows_storing)
    }

    /// For how long the response says that it is fresh: longer than no time, or `None`.
    pub(in crate::http) fn fresh_for(&self) -> Option<Duration> {
        let (cache_control, age) = (self.cache_control.as_ref().ok()?, self.age.as_ref().ok()?);
        cache_control.fresh_for(age.largest().unwrap_or(0))
    }
}

/// One more line of a field. One that cannot be read spoils all.
fn read<T>(field: &mut Result<T, Malformed>, line: impl FnOnce(&mut T) -> Result<(), Malformed>) {
    if let Err(malformed) = field.as_mut().map_err(|malformed| *malformed).and_then(line) {
        *field = Err(malformed);
    }
}

/// Who may have a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum ResponseClass {
    Shared,
    /// It is its leader's, for this reason.
    Vetoed(VetoReason),
    /// It judges the requester, who is its leader.
    Refused,
    /// As `Refused`, and it asks for fewer requests. All may have it who are not sent on.
    RefusedToAll,
    /// As `RefusedToAll`, but its body must not have several readers: others than the leader may have the head.
    HeadRefusedToAll,
}

impl ResponseClass {
    pub(in crate::http) fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::RefusedToAll | Self::HeadRefusedToAll)
    }
}

impl HttpPolicy {
    /// Who may have the response with this head. `is_head`: the request was a `HEAD`.
    ///
    /// Refusals come first: one that sets a cookie is still a refusal.
    pub(in crate::http) fn classify(
        &self,
        facts: &ResponseFacts,
        head: &Response<()>,
        body: &SizeHint,
        is_head: bool,
    ) -> ResponseClass {
        let status = head.status();
        let rule = self.response.status_rule(status);
        let body_veto = || self.body_veto(facts, status, body, is_head);
        if rule == StatusRule::Refuse || !(status.is_informational() || self.response.lets_share(head)) {
            return match body_veto() {
                _ if status != StatusCode::TOO_MANY_REQUESTS => ResponseClass::Refused,
                None => ResponseClass::RefusedToAll,
                Some(_) => ResponseClass::HeadRefusedToAll,
            };
        }
        match self.head_veto(facts, rule).or_else(body_veto) {
            Some(reason) => ResponseClass::Vetoed(reason),
            None => ResponseClass::Shared,
        }
    }

    fn head_veto(&self, facts: &ResponseFacts, rule: StatusRule) -> Option<VetoReason> {
        if status_vetoes(facts, rule) {
            Some(VetoReason::Status)
        } else if facts.sets_cookie && !self.response.share_set_cookie {
            Some(VetoReason::SetCookie)
        } else if self.cache_control_vetoes(facts) {
            Some(VetoReason::CacheControl)
        } else if self.vary_vetoes(facts) {
            Some(VetoReason::Vary)
        } else {
            None
        }
    }

    /// Why the body must not have several readers.
    fn body_veto(
        &self,
        facts: &ResponseFacts,
        status: StatusCode,
        body: &SizeHint,
        is_head: bool,
    ) -> Option<VetoReason> {
        if facts.has_vetoed_type {
            Some(VetoReason::ContentType)
        } else if self.size_vetoes(facts, status, body, is_head) {
            Some(VetoReason::BodyTooLarge)
        } else {
            None
        }
    }

    fn cache_control_vetoes(&self, facts: &ResponseFacts) -> bool {
        let rules = &self.response;
        if rules.share_private && rules.share_no_store && rules.share_no_cache {
            return false;
        }
        facts.cache_control.as_ref().map_or(true, |directives| {
            (directives.private && !rules.share_private)
                || (directives.no_store && !rules.share_no_store)
                || (directives.no_cache && !rules.share_no_cache)
        })
    }

    fn vary_vetoes(&self, facts: &ResponseFacts) -> bool {
        if self.response.ignore_vary {
            return false;
        }
        match &facts.vary {
            // Over HTTP/2 the host is no header, so that it cannot be compared as one.
            Ok(Vary::Headers(names)) => self.request.ignore_authority && names.contains(&HOST),
            Ok(Vary::Anything) | Err(Malformed) => true,
        }
    }

    fn vetoes_content_type(&self, line: &HeaderValue) -> bool {
        let vetoed = &self.response.veto_content_types;
        members_of(line).any(|member| vetoed.iter().any(|essence| has_essence(member, essence.as_bytes())))
    }

    fn size_vetoes(&self, facts: &ResponseFacts, status: StatusCode, body: &SizeHint, is_head: bool) -> bool {
        if self.response.share_large_bodies {
            return false;
        }
        // `Content-Length` in these tells of the body of another response (RFC 9110 §8.6).
        let announced = if is_head || status == StatusCode::NOT_MODIFIED {
            0
        } else {
            facts.length.as_ref().map_or(u64::MAX, |length| length.largest().unwrap_or(0))
        };
        body.lower().max(announced) > self.flight.body_limit
    }

    /// Whether followers may have to agree in this header, because a response varies by it.
    pub(in crate::http) fn may_vary_by(&self, name: &HeaderName) -> bool {
        !self.response.ignore_vary && !self.request.partitions_by(name)
    }

    /// The headers that the response's `Vary` names and the partition lacks:
    /// only requests that agree in them may share it. Sorted, each once.
    ///
    /// A `Vary` that cannot be followed is a [veto](Self::classify), and empty here.
    pub(in crate::http) fn foreign_vary(&self, facts: &ResponseFacts) -> Vec<HeaderName> {
        match &facts.vary {
            Ok(Vary::Headers(names)) if !names.is_empty() => {
                names.iter().filter(|name| self.may_vary_by(name)).cloned().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn status_vetoes(facts: &ResponseFacts, rule: StatusRule) -> bool {
    match rule {
        StatusRule::Share => false,
        StatusRule::ShareIfStorable => !facts.allows_storing(),
        StatusRule::Veto | StatusRule::Refuse => true,
    }
}

/// Whether this media type is `essence`, whatever its parameters.
fn has_essence(media_type: &[u8], essence: &[u8]) -> bool {
    media_type.split_at_checked(essence.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(essence) && matches!(rest.trim_ascii_start(), [] | [b';', ..])
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
