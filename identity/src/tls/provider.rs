//! The cryptography that the mesh speaks, passed explicitly everywhere: no process-wide default.

use std::sync::{Arc, LazyLock};

use rustls::{
    SupportedProtocolVersion,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, cipher_suite, kx_group},
    },
    version::TLS13,
};

pub(super) static VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        // AES-128 first, as Envoy and Go do: on machines with AES instructions it is the cheapest
        // per byte.
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        // The classical groups are for peers that are not ours.
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    })
});

pub(super) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}
