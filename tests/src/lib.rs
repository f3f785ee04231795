//! What whole-system tests, the demo and the benchmarks share: an open-loop load generator and what it measures.
//!
//! Nothing of the product depends on this crate. The cluster itself is `dnnshifter-cluster`, in the folder beside.

pub mod demo;
pub mod images;
pub mod load;
pub mod process;

/// Installs the process' crypto provider, without which no HTTP client can be built. To be called first in `main`.
pub fn install_crypto_provider() {
    // It fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
