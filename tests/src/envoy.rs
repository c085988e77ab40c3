//! Envoy as the other sidecar: its configuration, with the certificate that our identity service
//! issues to a service account. It is Envoy's own kind of configuration, nothing of it made for us.

use serde_json::{Value, json};

/// Where a pod has its certificate and key, and the roots.
pub const IDENTITY: &str = "/run/data/identity.pem";
/// See [`IDENTITY`].
pub const ROOTS: &str = "/run/data/roots.pem";
/// Where Envoy says how it is, in its pod.
pub const ADMIN: u16 = 15000;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// What is spoken inside of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Anything.
    Tcp,
}

/// One listener and where it leads.
pub struct Way<'a> {
    /// Of the listener.
    pub port: u16,
    /// Between its listener and its cluster.
    pub spoken: Spoken,
    /// The names that it offers, or takes, in ALPN.
    pub alpn: &'a [&'a str],
}

/// Listens on loopback in the clear and calls `target` with mutual TLS, which must be `identity`;
/// without `certificate` it has none to show.
pub fn client(way: &Way<'_>, target: (&str, u16), identity: &str, certificate: bool) -> [Value; 2] {
    let mut common = common_tls(way.alpn, json!({"exact": identity}));
    if !certificate {
        common["tls_certificates"] = json!([]);
    }
    let mut cluster = cluster(way, target);
    cluster["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": format!("{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext"), "common_tls_context": common}});
    [listener(way, "127.0.0.1", None), cluster]
}

/// Takes mutual TLS on every address, from anybody of the trust domain, and passes on to the
/// application on loopback. It tells whom it talked to in `x-peer`.
pub fn server(way: &Way<'_>, application: u16) -> [Value; 2] {
    let common = common_tls(way.alpn, json!({"prefix": "spiffe://cluster.local/"}));
    let tls = json!({"name": "tls", "typed_config": {
        "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
        "require_client_certificate": true, "common_tls_context": common}});
    [
        listener(way, "::", Some(tls)),
        cluster(way, ("127.0.0.1", application)),
    ]
}

/// The whole configuration.
pub fn bootstrap(ways: &[[Value; 2]]) -> Value {
    let all = |n: usize| ways.iter().map(|way| way[n].clone()).collect::<Vec<_>>();
    json!({
        "node": {"id": "envoy", "cluster": "envoy"},
        "admin": {"address": address("127.0.0.1", ADMIN)},
        "static_resources": {"listeners": all(0), "clusters": all(1)}})
}

fn common_tls(alpn: &[&str], peer: Value) -> Value {
    let version = "TLSv1_3";
    json!({
        "tls_params": {"tls_minimum_protocol_version": version, "tls_maximum_protocol_version": version},
        "alpn_protocols": alpn,
        "tls_certificates": [{"certificate_chain": {"filename": IDENTITY}, "private_key": {"filename": IDENTITY}}],
        "validation_context": {
            "trusted_ca": {"filename": ROOTS},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer}]}})
}

fn listener(way: &Way<'_>, ip: &str, tls: Option<Value>) -> Value {
    let name = way.port.to_string();
    let filter = match way.spoken {
        Spoken::Tcp => json!({"name": "tcp", "typed_config": {
            "@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"), "stat_prefix": name, "cluster": name}}),
        Spoken::Http1 | Spoken::Http2 => json!({"name": "http", "typed_config": {
            "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": name,
            "codec_type": if way.spoken == Spoken::Http1 { "HTTP1" } else { "HTTP2" },
            "http_filters": [{"name": "router", "typed_config": {"@type": format!("{TYPES}.filters.http.router.v3.Router")}}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
                "match": {"prefix": "/"}, "route": {"cluster": name},
                "response_headers_to_add": [{"header": {"key": "x-peer", "value": "%DOWNSTREAM_PEER_URI_SAN%"}}]}]}]}}}),
    };
    let mut chain = json!({"filters": [filter]});
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    let mut address = address(ip, way.port);
    address["socket_address"]["ipv4_compat"] = json!(ip == "::");
    json!({"name": name, "address": address, "filter_chains": [chain]})
}

fn cluster(way: &Way<'_>, (ip, port): (&str, u16)) -> Value {
    let name = way.port.to_string();
    let options = match way.spoken {
        Spoken::Http2 => json!({"http2_protocol_options": {}}),
        Spoken::Http1 | Spoken::Tcp => json!({"http_protocol_options": {}}),
    };
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "10s",
        "typed_extension_protocol_options": {http: {
            "@type": format!("type.googleapis.com/{http}"), "explicit_http_config": options}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{
            "endpoint": {"address": address(ip, port)}}]}]}})
}

fn address(ip: &str, port: u16) -> Value {
    json!({"socket_address": {"address": ip, "port_value": port}})
}
