//! What a TLS client says first, without answering it: rustls reads it, from the bytes that were read
//! ahead, of which there are never more than [`limits::CLIENT_HELLO`].

use rustls::server::{Acceptor, ClientHello};

use crate::detect::{Sniff, sniff};
use crate::io::Io;
use crate::limits;

/// What a connection opens with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hello<T> {
    /// A ClientHello, and what was looked for in it.
    Tls(T),
    /// Something else, or none that rustls understands.
    Other,
    /// A ClientHello of which more must come.
    Partial,
}

/// Reads until it can be told; the caller bounds the wait. [`Hello::Partial`]: no more comes.
pub(crate) async fn ahead<T>(io: &mut Io, look: impl Fn(ClientHello<'_>) -> T) -> Hello<T> {
    loop {
        match classify(io.ahead(), &look) {
            Hello::Partial => match io.read_ahead(limits::CLIENT_HELLO).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Hello::Partial,
            },
            told => return told,
        }
    }
}

/// The name of the server that it asks for, in lower case.
pub(crate) fn server_name(hello: ClientHello<'_>) -> Option<Box<str>> {
    Some(hello.server_name()?.to_ascii_lowercase().into())
}

fn classify<T>(bytes: &[u8], look: impl Fn(ClientHello<'_>) -> T) -> Hello<T> {
    match sniff(bytes) {
        Sniff::Tls => {}
        Sniff::More if bytes.is_empty() || bytes == [0x16] => return Hello::Partial,
        _ => return Hello::Other,
    }
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    loop {
        match acceptor.read_tls(&mut rest) {
            Ok(0) | Err(_) if rest.is_empty() => {}
            Ok(_) => {}
            Err(_) => return Hello::Other,
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Hello::Tls(look(accepted.client_hello())),
            Ok(None) if rest.is_empty() => return Hello::Partial,
            Ok(None) => {}
            Err(_) => return Hello::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn said(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut client = ClientConnection::new(config.into(), name.try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_name_is_found_however_many_pieces_it_comes_in() {
        let bytes = said("API.Example.com");
        let whole = Hello::Tls(Some("api.example.com".into()));
        assert_eq!(classify(&bytes, server_name), whole);
        for end in 1..bytes.len() {
            assert_eq!(
                classify(&bytes[..end], server_name),
                Hello::Partial,
                "{end}"
            );
        }
        // One message in many records.
        let (header, message) = bytes.split_at(5);
        let records: Vec<u8> = message
            .chunks(7)
            .flat_map(|part| [&header[..3], &[0, part.len() as u8], part].concat())
            .collect();
        assert_eq!(classify(&records, server_name), whole);
    }

    #[test]
    fn without_a_name_there_is_none() {
        assert_eq!(classify(&said("10.0.0.1"), server_name), Hello::Tls(None));
        assert_eq!(classify(b"GET / HTTP/1.1\r\n", server_name), Hello::Other);
        let mut broken = said("a.example");
        broken[5] = 0xff;
        assert_eq!(classify(&broken, server_name), Hello::Other);
    }
}
