//! Classifies a response by its head: shared, vetoed, or a refusal.

use crate::http::{
    policy::{HttpPolicy, StatusRule},
    response::facts::ResponseFacts,
    response::field::{Malformed, members_of},
    response::vary::Vary,
};
use crate::stats::VetoReason;
use http::{HeaderName, HeaderValue, Response, StatusCode, header::HOST};
use http_body::SizeHint;

/// Who may have a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum ResponseClass {
    /// All waiters, if they agree in the headers that it varies by.
    Shared,
    /// The leader alone, for this reason.
    Vetoed(VetoReason),
    /// The leader alone, because the response judges the client that sent the request.
    Refused,
    /// As `Refused`, but upstream asks for fewer requests. Followers that have no further flight to
    /// join get it too.
    RefusedToAll,
    /// As `RefusedToAll`, but the body must not have several readers. Those followers get the head.
    HeadRefusedToAll,
}

impl ResponseClass {
    pub(in crate::http) fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::RefusedToAll | Self::HeadRefusedToAll)
    }
}

impl HttpPolicy {
    /// Decides who may have the response with this head. `is_head`: the request was a `HEAD`.
    ///
    /// Refusals come first: a refusal with a cookie is still a refusal.
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
        if rule == StatusRule::Refuse
            || !(status.is_informational() || self.response.lets_share(head))
        {
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
            // HTTP/2 has no `Host` header, so the policy cannot compare it as a header.
            Ok(Vary::Headers(names)) => self.request.ignore_authority && names.contains(&HOST),
            Ok(Vary::Anything) | Err(Malformed) => true,
        }
    }

    pub(super) fn vetoes_content_type(&self, line: &HeaderValue) -> bool {
        let vetoed = &self.response.veto_content_types;
        members_of(line)
            .any(|member| vetoed.iter().any(|essence| has_essence(member, essence.as_bytes())))
    }

    fn size_vetoes(
        &self,
        facts: &ResponseFacts,
        status: StatusCode,
        body: &SizeHint,
        is_head: bool,
    ) -> bool {
        if self.response.share_large_bodies {
            return false;
        }
        // Here `Content-Length` describes the body of another response (RFC 9110 §8.6).
        let announced = if is_head || status == StatusCode::NOT_MODIFIED {
            0
        } else {
            facts.length.as_ref().map_or(u64::MAX, |length| length.largest().unwrap_or(0))
        };
        body.lower().max(announced) > self.flight.longest_shared()
    }

    /// True if followers may have to agree in this header, because a response varies by it.
    fn may_vary_by(&self, name: &HeaderName) -> bool {
        !self.response.ignore_vary && !self.request.partitions_by(name)
    }

    /// Returns the headers that `Vary` names and the partition lacks, sorted and each once. Only
    /// requests that agree in them may share the response.
    ///
    /// Empty for a `Vary` that [vetoes](Self::classify) the response.
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

/// True if this media type is `essence`, with any parameters.
fn has_essence(media_type: &[u8], essence: &[u8]) -> bool {
    media_type.split_at_checked(essence.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(essence) && matches!(rest.trim_ascii_start(), [] | [b';', ..])
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
