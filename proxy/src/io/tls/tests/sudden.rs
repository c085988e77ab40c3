//! Handshakes that fail, and those behind which more comes at once.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[test]
fn what_comes_with_the_end_of_the_handshake_is_heard() {
    run(async {
        for (said, closed) in [(1, true), (100, false), (50_000, true)] {
            let (client, server) = tcp().await;
            let (to, of) = Mesh::new().configs();
            let mut client = client.into_std().unwrap();
            client.set_nonblocking(false).unwrap();
            let sent = pattern(said);
            let speaking = std::thread::spawn({
                let sent = sent.clone();
                move || {
                    let mut session = rustls::ClientConnection::new(to, name()).unwrap();
                    // Kept until the handshake is over, and then sent with its last words.
                    while session.is_handshaking() {
                        session.write_tls(&mut client).unwrap();
                        if session.wants_read() {
                            session.read_tls(&mut client).unwrap();
                            session.process_new_packets().unwrap();
                        }
                    }
                    let mut last = Vec::new();
                    io::Write::write_all(&mut session.writer(), &sent).unwrap();
                    if closed {
                        session.send_close_notify();
                    }
                    while session.wants_write() {
                        session.write_tls(&mut last).unwrap();
                    }
                    io::Write::write_all(&mut client, &last).unwrap();
                    client
                }
            });
            let (mut server, ()) = accept(of, server, Bytes::new(), |_| ()).await.unwrap();
            let mut heard = vec![0; said];
            server.read_exact(&mut heard).await.unwrap();
            assert!(heard == sent);
            let client = speaking.join().unwrap();
            drop(client);
            assert_eq!(server.read(&mut [0; 1]).await.is_ok(), closed);
        }
    });
}

#[test]
fn a_stranger_is_told_that_it_is_one() {
    run(async {
        let (client, server) = tcp().await;
        let (_, of) = Mesh::new().configs();
        let (to, _) = Mesh::new().configs();
        let (client, server) = tokio::join!(
            connect(to, name(), client),
            accept(of, server, Bytes::new(), |_| ())
        );
        let (client, server) = (client.err().unwrap(), server.err().unwrap());
        let refusals = [client, server].map(|e| heddle_identity::Refusal::of(&e).unwrap());
        assert!(
            refusals[0].to_string().contains("authority"),
            "{refusals:?}"
        );
        assert!(matches!(refusals[1], heddle_identity::Refusal::ByPeer(_)));
    });
}

#[test]
fn a_client_that_is_refused_hears_it_with_its_first_read() {
    run(async {
        let (client, server) = tcp().await;
        let mesh = Mesh::new();
        let (to, _) = mesh.configs();
        let strict = mesh.tls("server");
        strict.set_roots(Mesh::new().authority.roots()).unwrap();
        let of = strict.server_config(&[b"heddle/tcp"]);
        let (client, server) = tokio::join!(
            connect(to, name(), client),
            accept(of, server, Bytes::new(), |_| ())
        );
        assert!(server.is_err());
        let refused = client.unwrap().read_u8().await.unwrap_err();
        let refusal = heddle_identity::Refusal::of(&refused).unwrap();
        assert!(matches!(refusal, heddle_identity::Refusal::ByPeer(_)));
    });
}

#[test]
fn who_leaves_during_the_handshake_broke_off() {
    run(async {
        let (client, server) = tcp().await;
        let (_, of) = Mesh::new().configs();
        drop(client);
        let left = accept(of, server, Bytes::new(), |_| ())
            .await
            .err()
            .unwrap();
        assert_eq!(left.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn what_was_read_ahead_belongs_to_the_handshake() {
    run(async {
        let (client, mut server) = tcp().await;
        let (to, of) = Mesh::new().configs();
        let reading = async {
            let mut ahead = vec![0; 100];
            server.read_exact(&mut ahead).await.unwrap();
            accept(of, server, ahead.into(), |_| ()).await
        };
        let (client, server) = tokio::join!(connect(to, name(), client), reading);
        client.unwrap().write_all(b"x").await.unwrap();
        assert_eq!(server.unwrap().0.read_u8().await.unwrap(), b'x');
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    /// No bytes of a peer's make more of us than an error.
    #[test]
    fn nonsense_is_refused(bytes: Vec<u8>, hello: bool) {
        run(async {
            let (mut client, server) = tcp().await;
            let (_, of) = Mesh::new().configs();
            let start: &[u8] = if hello { &[22, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3] } else { &[] };
            client.write_all(&[start, &bytes].concat()).await.unwrap();
            client.shutdown().await.unwrap();
            assert!(accept(of, server, Bytes::new(), |_| ()).await.is_err());
        });
    }
}
