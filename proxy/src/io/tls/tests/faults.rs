//! Peers that do what TLS forbids: each is told why, in TLS's words, and read no further.

use rustls::AlertDescription;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// What we say to a server's bytes behind its handshake, and what it is told by us.
async fn told(bytes: &[u8]) -> (String, AlertDescription) {
    let (mut client, server) = our_client().await;
    let (mut tcp, mut session) = server.into_inner();
    tcp.write_all(bytes).await.unwrap();
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let late = client.write_all(b"late").await.unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
    assert!(client.read_u8().await.is_err(), "a fault is no end");
    let mut read = [0; 100];
    let length = tcp.read(&mut read).await.unwrap();
    session.read_tls(&mut &read[..length]).unwrap();
    match session.process_new_packets() {
        Err(rustls::Error::AlertReceived(alert)) => (error.to_string(), alert),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_record_of_the_connection_is_refused() {
    let sealed_badly = [[23, 3, 3, 0, 32].as_slice(), &[7; 32]].concat();
    let cases: [(&[u8], AlertDescription); 6] = [
        (&sealed_badly, AlertDescription::BadRecordMac),
        (&[23, 3, 3, 0, 1, 9], AlertDescription::BadRecordMac),
        (&[23, 3, 3, 0, 0], AlertDescription::BadRecordMac),
        (&[23, 3, 3, 0x48, 1], AlertDescription::DecodeError),
        (&[99, 3, 3, 0, 1, 1], AlertDescription::DecodeError),
        (b"GET / HTTP/1.1\r\n\r\n", AlertDescription::DecodeError),
    ];
    run(async {
        for (bytes, alert) in cases {
            let (said, told) = told(bytes).await;
            assert_eq!(told, alert, "{bytes:?}: {said}");
        }
    });
}

/// What a client of ours sends, as it is on the wire.
async fn sealed(client: &mut Tls, server: &mut Tls, content: &[u8]) -> Vec<u8> {
    client.write_all(content).await.unwrap();
    let mut wire = vec![0; content.len() + 22];
    server.tcp.read_exact(&mut wire).await.unwrap();
    wire
}

#[test]
fn a_record_that_was_changed_anywhere_is_refused() {
    run(async {
        // The first three bytes say nothing: they are there for what looks at older TLS.
        for at in 3..3 + 22 {
            let (mut client, mut server) = ours().await;
            let mut wire = sealed(&mut client, &mut server, b"abc").await;
            let (mut one, other) = tcp().await;
            server.tcp = other;
            wire[at] ^= 1;
            // What the length may claim.
            wire.resize(wire.len() + 300, 0);
            one.write_all(&wire).await.unwrap();
            one.shutdown().await.unwrap();
            let mut heard = Vec::new();
            let error = server.read_to_end(&mut heard).await.unwrap_err();
            assert_eq!(heard, b"", "byte {at}");
            assert_eq!(
                error.kind(),
                io::ErrorKind::InvalidData,
                "byte {at}: {error}"
            );
        }
    });
}

#[test]
fn a_record_is_opened_once() {
    run(async {
        let (mut client, mut server) = ours().await;
        let first = sealed(&mut client, &mut server, b"first").await;
        let (mut one, other) = tcp().await;
        server.tcp = other;
        one.write_all(&[&first[..], &first].concat()).await.unwrap();
        let mut heard = Vec::new();
        let error = server.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(heard, b"first");
    });
}

#[test]
fn what_comes_after_the_end_is_not_read() {
    run(async {
        let (mut client, mut server) = our_server().await;
        client.write_all(b"before").await.unwrap();
        client.get_mut().1.send_close_notify();
        client.flush().await.unwrap();
        client.get_mut().0.write_all(b"after").await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"before");
        assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
    });
}
