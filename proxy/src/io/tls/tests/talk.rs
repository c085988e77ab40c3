//! What TLS says to itself after the handshake: new keys at either end's wish, tickets, and its last
//! words waiting for the first of ours.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A few words each way.
macro_rules! converse {
    ($one:ident, $other:ident) => {
        for (from, to) in [(1, 2), (3, 4)] {
            let mut heard = [0; 1];
            $one.write_all(&[from]).await.unwrap();
            $one.flush().await.unwrap();
            $other.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, [from]);
            $other.write_all(&[to]).await.unwrap();
            $other.flush().await.unwrap();
            $one.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, [to]);
        }
    };
}

#[test]
fn a_peer_may_change_its_keys_and_ask_for_ours() {
    run(async {
        let (mut client, mut server) = our_server().await;
        for _ in 0..3 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
            client.write_all(b"x").await.unwrap();
            client.flush().await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), b'x');
            converse!(client, server);
        }
        let (mut client, mut server) = our_client().await;
        server.get_mut().1.refresh_traffic_keys().unwrap();
        converse!(server, client);
    });
}

#[test]
fn keys_are_not_changed_for_ever() {
    run(async {
        let (mut client, mut server) = our_server().await;
        for _ in 0..40 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
        }
        client.flush().await.unwrap();
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(server.held() < 4096, "{}", server.held());
    });
}

#[test]
fn tickets_are_taken_also_in_pieces_while_we_speak() {
    for size in [None, Some(32)] {
        run(async {
            let (mut client, mut server) = our_client_of(|of| {
                of.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
                of.send_tls13_tickets = 4;
                of.max_fragment_size = size;
            })
            .await;
            // Between the two, byte by byte.
            let (one, other) = tcp().await;
            let from = std::mem::replace(&mut client.tcp, other);
            let (mut heard, mut said) = from.into_split();
            let (mut back, mut there) = one.into_split();
            let through = async {
                let mut byte = [0];
                while heard.read_exact(&mut byte).await.is_ok() {
                    there.write_all(&byte).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let up = tokio::io::copy(&mut back, &mut said);
            let talk = async {
                for _ in 0..20 {
                    client.write_all(b"ping").await.unwrap();
                    client.flush().await.unwrap();
                    tokio::task::yield_now().await;
                }
                let mut answer = [0; 4];
                server.read_exact(&mut answer).await.unwrap();
                server.write_all(b"pong").await.unwrap();
                server.flush().await.unwrap();
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"pong");
                assert_eq!(client.held(), 0);
            };
            tokio::select! {
                _ = async { tokio::join!(through, up) } => panic!("it ended"),
                () = talk => {}
            }
        });
    }
}

#[test]
fn the_last_of_the_handshake_goes_with_the_first_that_is_said() {
    run(async {
        let (client, mut server) = tcp().await;
        let (to, of) = Mesh::new().configs();
        let (mut client, ()) = {
            let shaking = super::super::connect(to, name(), client);
            let mut session = rustls::ServerConnection::new(of).unwrap();
            let mut wire = [0; 8192];
            let answering = async {
                let read = server.read(&mut wire).await.unwrap();
                session.read_tls(&mut &wire[..read]).unwrap();
                session.process_new_packets().unwrap();
                let mut flight = Vec::new();
                while session.wants_write() {
                    session.write_tls(&mut flight).unwrap();
                }
                server.write_all(&flight).await.unwrap();
            };
            let (client, ()) = tokio::join!(shaking, answering);
            (client.unwrap(), ())
        };
        let waits = client.unsent.len();
        assert!((1..super::super::MAY_WAIT).contains(&waits), "{waits}");
        client.write_all(b"x").await.unwrap();
        let mut wire = [0; 8192];
        assert_eq!(server.read(&mut wire).await.unwrap(), waits + 1 + 22);
    });
}
