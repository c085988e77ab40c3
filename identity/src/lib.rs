//! SPIFFE identities: the certificate authority, and the client half that proxies use.
