//! What a connection leads to: routes, and TLS before them.

use std::sync::Arc;

use axum::Router;

use super::tls::Tls;

/// What a connection leads to.
#[derive(Clone)]
pub(crate) struct Front {
    pub(super) router: Router,
    pub(super) guard: Option<Guard>,
}

/// TLS, and the routes for those who should have shown a certificate, and have not.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) tls: Arc<Tls>,
    pub(super) for_the_unknown: Router,
}

impl Front {
    /// The same for everybody, as it is.
    pub(crate) fn plain(router: Router) -> Self {
        Self { router, guard: None }
    }

    /// By TLS only.
    pub(crate) fn guarded(router: Router, tls: Arc<Tls>, for_the_unknown: Router) -> Self {
        Self { router, guard: Some(Guard { tls, for_the_unknown }) }
    }
}
