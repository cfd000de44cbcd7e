//! Compares a follower's request with the leader's, in the headers that a response varies by.

use crate::http::request::partition::{Partition, UncomparedHeaders};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers that a response varies by and the partition lacks, and the leader's values of them.
pub(in crate::http) struct VaryHeaders {
    names: Vec<HeaderName>,
    leader: UncomparedHeaders,
}

impl VaryHeaders {
    /// `partition` is the leader's. Without one, the leader counts as having none of the headers.
    pub(super) fn new(names: Vec<HeaderName>, partition: Option<&Partition>) -> Self {
        Self {
            names,
            leader: partition
                .map_or_else(UncomparedHeaders::default, Partition::uncompared_headers),
        }
    }

    pub(super) fn names(&self) -> &[HeaderName] {
        &self.names
    }

    /// The leader's lines of a header.
    #[cfg(feature = "fleet")]
    pub(super) fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.leader.lines(name)
    }

    /// True if `headers` has the leader's lines of each name, in their order.
    pub(in crate::http) fn matches(&self, headers: &HeaderMap) -> bool {
        let lines = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        self.names.iter().all(|name| self.leader.lines(name).eq(lines(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::policy::HttpPolicy;
    use http::{HeaderName, Request};

    const X: HeaderName = HeaderName::from_static("x");
    const Y: HeaderName = HeaderName::from_static("y");

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let request = headers
            .iter()
            .fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap()
    }

    #[test]
    fn followers_agree_only_in_all_lines_of_all_names() {
        let agree = |a: &[(&str, &str)], b: &[(&str, &str)]| {
            let partition = HttpPolicy::default().admit(&request(a), false).unwrap();
            VaryHeaders::new(vec![X, Y], Some(&partition)).matches(request(b).headers())
        };
        assert!(agree(&[("x", "1"), ("z", "a")], &[("x", "1")]));
        assert!(agree(&[("x", "1"), ("y", "2")], &[("y", "2"), ("x", "1")]));
        assert!(!agree(&[("x", "1"), ("y", "a")], &[("x", "1")]));
        assert!(!agree(&[("x", "1")], &[("x", "1"), ("x", "1")]));
        assert!(!agree(&[("x", "1"), ("x", "2")], &[("x", "2"), ("x", "1")]));
        assert!(!agree(&[("x", "")], &[]));
        assert!(agree(&[], &[]));
    }
}
