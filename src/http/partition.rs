//! What must be equal, besides the user's key, for two requests to share.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::policy::RequestRules;

/// The parts of a request head that the policy compares, as they came.
///
/// Holds reference-counted clones only, and allocates only when one of the
/// listed headers is there.
#[derive(Clone)]
pub(crate) struct Partition {
    method: Method,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    host: Option<HeaderValue>,
    path: Option<PathAndQuery>,
    /// The path before axum's nested routers stripped it.
    #[cfg(feature = "axum")]
    original_path: Option<PathAndQuery>,
    /// Every line of the listed headers, in the order of the list. `None`
    /// stands for a `Vary` header that the request lacks: so a partition that
    /// `Vary` made never equals one it did not.
    lines: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Partition {
    pub(super) fn of(rules: &RequestRules, head: &Request<()>) -> Self {
        let mut partition = Self::of_method(head.method().clone());
        if !rules.ignore_authority {
            partition.add_authority(head);
        }
        if !rules.ignore_path {
            partition.add_path(head);
        }
        for name in &rules.partition_headers {
            partition.add_lines(name, head.headers());
        }
        partition
    }

    fn of_method(method: Method) -> Self {
        Self {
            method,
            scheme: None,
            authority: None,
            host: None,
            path: None,
            #[cfg(feature = "axum")]
            original_path: None,
            lines: Vec::new(),
        }
    }

    fn add_authority(&mut self, head: &Request<()>) {
        self.scheme = head.uri().scheme().cloned();
        self.authority = head.uri().authority().cloned();
        // Both where both are there: a server may go by either.
        let mut hosts = head.headers().get_all(HOST).iter();
        self.host = hosts.next().cloned();
        self.lines.extend(hosts.map(|line| (HOST, Some(line.clone()))));
    }

    fn add_path(&mut self, head: &Request<()>) {
        self.path = head.uri().path_and_query().cloned();
        #[cfg(feature = "axum")]
        if let Some(original) = head.extensions().get::<axum::extract::OriginalUri>() {
            self.original_path = original.0.path_and_query().cloned();
        }
    }

    fn add_lines(&mut self, name: &HeaderName, headers: &HeaderMap) {
        for line in headers.get_all(name) {
            self.lines.push((name.clone(), Some(line.clone())));
        }
    }

    /// This partition split further by the headers that a response's `Vary`
    /// named (RFC 9111 §4.1), with the values in `head`.
    ///
    /// The same names always give comparable partitions, in whatever order or
    /// number of steps they came.
    pub(crate) fn with_vary(&self, names: &[HeaderName], head: &Request<()>) -> Self {
        let mut split = self.clone();
        for name in names {
            if split.lines.iter().any(|(known, _)| known == name) {
                continue;
            }
            if head.headers().contains_key(name) {
                split.add_lines(name, head.headers());
            } else {
                split.lines.push((name.clone(), None));
            }
        }
        // Stable: the lines of one header keep their order.
        split.lines.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        split
    }

    /// Everything that takes part in `==`, in `http`'s types only where those
    /// compare exactly: `Authority` ignores case, also that of a password.
    fn identity(&self) -> impl Eq + Hash + '_ {
        (
            &self.method,
            &self.scheme,
            self.authority.as_ref().map(Authority::as_str),
            &self.host,
            self.path.as_ref().map(PathAndQuery::path),
            self.original_path(),
            &self.lines,
        )
    }

    #[cfg(feature = "axum")]
    fn original_path(&self) -> Option<&str> {
        self.original_path.as_ref().map(PathAndQuery::path)
    }

    #[cfg(not(feature = "axum"))]
    fn original_path(&self) -> Option<&str> {
        None
    }
}

impl PartialEq for Partition {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Partition {}

impl Hash for Partition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// Names of headers only: their values are credentials.
impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.lines.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Partition")
            .field("method", &self.method)
            .field("path", &self.path.as_ref().map(PathAndQuery::path))
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
