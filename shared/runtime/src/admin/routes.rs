//! Routes that services add to the admin endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

/// A POST request, read completely.
#[derive(Debug, Clone, Copy)]
pub struct PostRequest<'r> {
    /// Names and values of the headers that are text.
    pub headers: &'r [(&'r str, &'r str)],
    /// The whole body.
    pub body: &'r [u8],
    /// Address of the client.
    pub peer: Option<SocketAddr>,
}

impl<'r> PostRequest<'r> {
    /// The first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&'r str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// The response to a [`PostRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct PostResponse {
    /// HTTP status.
    pub status: u16,
    /// Body, sent as JSON.
    pub body: Value,
}

type Handler = Arc<dyn Fn(&PostRequest<'_>) -> PostResponse + Send + Sync>;

/// The routes by path. Clones share them; routes may be added while the endpoint runs.
#[derive(Clone, Default)]
pub struct AdminRoutes(Arc<RwLock<BTreeMap<&'static str, Handler>>>);

impl AdminRoutes {
    /// Answers `POST path` by calling `handler` on the thread of the admin endpoint, so it must not block. The last
    /// handler added for a path is used.
    pub fn post(&self, path: &'static str, handler: impl Fn(&PostRequest<'_>) -> PostResponse + Send + Sync + 'static) {
        self.0.write().insert(path, Arc::new(handler));
    }

    /// Whether there is a route at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.0.read().contains_key(path)
    }

    /// The response of the route at `path`, if there is one.
    pub fn answer(&self, path: &str, request: &PostRequest<'_>) -> Option<PostResponse> {
        let handler = self.0.read().get(path).cloned()?;
        Some(handler(request))
    }
}

impl fmt::Debug for AdminRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.read().keys()).finish()
    }
}
