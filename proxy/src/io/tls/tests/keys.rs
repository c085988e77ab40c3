//! Keys change in the midst of a connection, at either end's wish.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const KEY_UPDATE_BOTH: [u8; 5] = [24, 0, 0, 1, 1];

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
            assert!(server.rekey);
            converse!(client, server);
            assert!(!server.rekey);
        }
        let (mut client, mut server) = our_client().await;
        server.get_mut().1.refresh_traffic_keys().unwrap();
        converse!(server, client);
        assert!(!client.rekey);
    });
}

#[test]
fn a_key_seals_no_more_than_it_may() {
    run(async {
        let (mut client, mut server) = our_client().await;
        client.limit = 3;
        let sent = pattern(20 * record::PLAIN);
        let mut heard = vec![0; sent.len()];
        let (wrote, read) = tokio::join!(client.write_all(&sent), server.read_exact(&mut heard));
        wrote.unwrap();
        read.unwrap();
        assert!(sent == heard);
        assert!(client.sealer.number() < 3, "{}", client.sealer.number());
    });
}

#[test]
fn a_change_of_keys_may_come_in_two_records() {
    run(async {
        let (mut client, mut server) = ours().await;
        client.say(Kind::Handshake, &KEY_UPDATE[..2]).await;
        client.say(Kind::Handshake, &KEY_UPDATE[2..]).await;
        client.sealer = client.keys.sealer().unwrap();
        converse!(client, server);
        assert!(!server.rekey);
        assert_eq!(server.held(), 0);
    });
}

#[test]
fn nothing_may_follow_a_change_of_keys_under_the_old() {
    run(async {
        let (mut client, mut server) = ours().await;
        let two = [KEY_UPDATE, KEY_UPDATE].concat();
        client.say(Kind::Handshake, &two).await;
        let error = server.read_u8().await.unwrap_err();
        assert!(text(&error).contains("no place"), "{error}");

        let (mut client, mut server) = ours().await;
        client.say(Kind::Handshake, &KEY_UPDATE).await;
        client.say(Kind::Data, b"under the old").await;
        let error = server.read_u8().await.unwrap_err();
        assert!(text(&error).contains("keys do not open"), "{error}");
    });
}

#[test]
fn keys_are_not_changed_for_ever() {
    run(async {
        let (mut client, mut server) = ours().await;
        for _ in 0..32 {
            client.say(Kind::Handshake, &KEY_UPDATE_BOTH).await;
            client.sealer = client.keys.sealer().unwrap();
        }
        client.say(Kind::Data, b"x").await;
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        for _ in 0..33 {
            client.say(Kind::Handshake, &KEY_UPDATE_BOTH).await;
            client.sealer = client.keys.sealer().unwrap();
        }
        let error = server.read_u8().await.unwrap_err();
        assert!(text(&error).contains("carry nothing"), "{error}");
        // However often it was asked, once.
        assert_eq!(server.sealer.number(), 1);
    });
}

#[test]
fn a_client_takes_tickets_and_keeps_none() {
    run(async {
        let (mut client, mut server) = ours().await;
        let ticket = [&[4, 0, 0, 3][..], b"abc"].concat();
        server.say(Kind::Handshake, &ticket).await;
        server.say(Kind::Handshake, &ticket[..5]).await;
        server.say(Kind::Handshake, &ticket[5..]).await;
        converse!(server, client);
        assert_eq!(client.held(), 0);

        client.say(Kind::Handshake, &ticket).await;
        let error = server.read_u8().await.unwrap_err();
        assert!(text(&error).contains("no place"), "{error}");
    });
}
