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
        Err(rustls::Error::AlertReceived(alert)) => (text(&error), alert),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_record_of_the_connection_is_refused() {
    let cases: [(&[u8], &str, AlertDescription); 6] = [
        (
            &[[23, 3, 3, 0, 32].as_slice(), &[7; 32]].concat(),
            "keys do not open",
            AlertDescription::BadRecordMac,
        ),
        (
            &[23, 3, 3, 0, 16],
            "keys do not open",
            AlertDescription::BadRecordMac,
        ),
        (
            &[23, 3, 3, 0, 0],
            "keys do not open",
            AlertDescription::BadRecordMac,
        ),
        (
            &[23, 3, 3, 0x41, 1],
            "longer",
            AlertDescription::RecordOverflow,
        ),
        (
            &[20, 3, 3, 0, 1, 1],
            "no place",
            AlertDescription::UnexpectedMessage,
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "no place",
            AlertDescription::UnexpectedMessage,
        ),
    ];
    run(async {
        for (bytes, why, alert) in cases {
            let (said, told) = told(bytes).await;
            assert!(said.contains(why), "{bytes:?}: {said}");
            assert_eq!(told, alert, "{bytes:?}");
        }
    });
}

/// Why a server of ours ends a client that sends these.
async fn refused(records: &[(Kind, &[u8])]) -> String {
    let (mut client, mut server) = ours().await;
    for (kind, content) in records {
        client.say(*kind, content).await;
    }
    let mut heard = Vec::new();
    text(&server.read_to_end(&mut heard).await.unwrap_err())
}

#[test]
fn messages_without_a_place_are_refused() {
    let request = [0, 0, 0, 0];
    type Record<'a> = (Kind, &'a [u8]);
    let cases: [(&[Record<'_>], &str); 8] = [
        (&[(Kind::Handshake, &request)], "no place"),
        (&[(Kind::Handshake, &[13, 0, 0, 0])], "no place"),
        (&[(Kind::Handshake, &[24, 0, 0, 1, 2])], "malformed"),
        (&[(Kind::Handshake, &[24, 0, 0, 0])], "malformed"),
        (&[(Kind::Handshake, &[24, 1, 0, 1])], "malformed"),
        (
            &[(Kind::Handshake, &[24]), (Kind::Data, b"between")],
            "no place",
        ),
        (&[(Kind::Alert, &[2])], "malformed"),
        (&[(Kind::Data, b"".as_slice()); 33], "carry nothing"),
    ];
    run(async {
        for (records, why) in cases {
            let said = refused(records).await;
            assert!(said.contains(why), "{records:?}: {said}");
        }
    });
}

#[test]
fn a_message_without_an_end_is_not_kept() {
    run(async {
        let mut begun = vec![24, 0, 0xff, 0xff];
        begun.resize(record::PLAIN, 0);
        let more = vec![0; record::PLAIN];
        let mut records = vec![(Kind::Handshake, &begun[..])];
        records.extend([(Kind::Handshake, &more[..]); 40]);
        let (mut client, mut server) = ours().await;
        let writing = async {
            for (kind, content) in records {
                client.say(kind, content).await;
            }
            // Until it is refused.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = writing => {}
            read = server.read_u8() => drop(read.unwrap_err()),
        }
        assert!(server.held() < 200, "{}", server.held());
    });
}

#[test]
fn what_came_before_a_fault_is_heard() {
    run(async {
        let (mut client, mut server) = ours().await;
        client.say(Kind::Data, b"before").await;
        client.say(Kind::Alert, &[2, 80]).await;
        let mut heard = Vec::new();
        let error = server.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(heard, b"before");
        let refusal = heddle_identity::Refusal::of(&error).unwrap();
        assert!(refusal.to_string().contains("InternalError"), "{refusal}");
    });
}

#[test]
fn what_comes_after_the_end_is_not_read() {
    run(async {
        let (mut client, mut server) = ours().await;
        client.say(Kind::Alert, &[1, 90]).await;
        client.say(Kind::Data, b"before").await;
        client.say(Kind::Alert, &[1, 0]).await;
        client.say(Kind::Data, b"after").await;
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"before");
        assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
    });
}
