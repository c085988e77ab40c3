//! Bytes, and their end, in both directions.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};

use super::*;
use crate::scratch;

const SIZES: [usize; 7] = [1, 100, 16_383, 16_384, 16_385, 65_536, 1_000_000];

/// Sends each size, and has it sent back, each whole.
async fn echo(mut one: impl AsyncRead + AsyncWrite + Unpin, other: impl AsyncRead + AsyncWrite) {
    let (mut from, mut to) = split(other);
    let back = async {
        copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let there = async {
        for size in SIZES {
            let sent = pattern(size);
            let mut heard = vec![0; size];
            let (mut read, mut write) = split(&mut one);
            let (wrote, read) = tokio::join!(
                async {
                    write.write_all(&sent).await?;
                    write.flush().await
                },
                read.read_exact(&mut heard)
            );
            wrote.unwrap();
            read.unwrap();
            assert!(sent == heard, "{size} bytes came back otherwise");
        }
        one.shutdown().await.unwrap();
        assert_eq!(one.read(&mut [0; 1]).await.unwrap(), 0);
    };
    tokio::join!(there, back);
}

#[test]
fn bytes_go_both_ways_between_ourselves() {
    run(async {
        let (client, server) = ours().await;
        echo(client, server).await;
        let (client, server) = ours().await;
        echo(server, client).await;
    });
}

#[test]
fn bytes_go_both_ways_with_rustls() {
    run(async {
        let (client, server) = our_client().await;
        echo(client, server).await;
        let (client, server) = our_server().await;
        echo(client, server).await;
    });
}

/// Passes on, byte by byte, what one end says.
async fn slowly(mut from: TcpStream, mut to: TcpStream) {
    to.set_nodelay(true).unwrap();
    let mut wire = [0; 1024];
    loop {
        match from.read(&mut wire).await.unwrap() {
            0 => return to.shutdown().await.unwrap(),
            read => {
                for byte in &wire[..read] {
                    to.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

#[test]
fn what_comes_byte_by_byte_is_put_together_and_then_nothing_is_held() {
    run(async {
        let (mut client, mut server) = ours().await;
        // Between the two from now on: what the client says goes through other hands.
        let (one, other) = tcp().await;
        let from = std::mem::replace(&mut server.tcp, other);
        let sent = [pattern(300), pattern(20_000)].concat();
        let mut heard = Vec::new();
        let speaking = async {
            client.write_all(&sent[..300]).await.unwrap();
            client.write_all(&sent[300..]).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let (_, _, read) =
            tokio::join!(speaking, slowly(from, one), server.read_to_end(&mut heard));
        read.unwrap();
        assert!(heard == sent);
        assert_eq!((client.held(), server.held()), (0, 0));
    });
}

#[test]
fn who_reads_in_small_pieces_gets_all_of_it() {
    run(async {
        let (mut client, mut server) = our_server().await;
        let sent = pattern(40_000);
        let mut heard = Vec::new();
        let reading = async {
            let mut piece = [0; 7];
            while heard.len() < sent.len() {
                let read = server.read(&mut piece).await.unwrap();
                heard.extend_from_slice(&piece[..read]);
            }
        };
        let writing = async {
            client.write_all(&sent).await.unwrap();
            client.flush().await.unwrap();
        };
        tokio::join!(reading, writing);
        assert!(sent == heard);
        assert_eq!(server.held(), 0);
    });
}

#[test]
fn one_way_ends_and_the_other_goes_on() {
    run(async {
        let (mut client, mut server) = our_client().await;
        client.write_all(b"that is all").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"that is all");
        server.write_all(b"understood").await.unwrap();
        server.shutdown().await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"understood");
        let late = client.write_all(b"and").await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn who_leaves_without_a_word_broke_off() {
    run(async {
        let (mut client, server) = ours().await;
        drop(server);
        let left = client.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(left.kind(), io::ErrorKind::UnexpectedEof);

        // In the midst of a record.
        let (mut client, mut server) = ours().await;
        let (mut one, other) = tcp().await;
        let mut from = std::mem::replace(&mut server.tcp, other);
        client.write_all(b"cut short").await.unwrap();
        let mut wire = [0; 100];
        let length = from.read(&mut wire).await.unwrap();
        one.write_all(&wire[..length - 1]).await.unwrap();
        drop(one);
        let left = server.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(left.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_peer_that_does_not_read_holds_its_sender_up_and_little_memory() {
    run(async {
        let (mut client, mut server) = ours().await;
        let piece = pattern(scratch::PLAIN + 1000);
        let mut sent = 0;
        // Until the kernel takes no more.
        poll_fn(|cx| {
            while let Poll::Ready(wrote) = Pin::new(&mut client).poll_write(cx, &piece) {
                let wrote = wrote.unwrap();
                assert_eq!(wrote, scratch::PLAIN);
                sent += wrote;
            }
            Poll::Ready(())
        })
        .await;
        let unsent = client.unsent.len();
        assert!(
            (1..=scratch::WIRE + super::super::MAY_WAIT).contains(&unsent),
            "{unsent}"
        );
        let reading = async {
            let mut heard = 0;
            let mut buffer = vec![0; 50_000];
            loop {
                match server.read(&mut buffer).await.unwrap() {
                    0 => return heard,
                    read => {
                        for (at, byte) in buffer[..read].iter().enumerate() {
                            assert_eq!(*byte, piece[(heard + at) % scratch::PLAIN]);
                        }
                        heard += read;
                    }
                }
            }
        };
        let (heard, ended) = tokio::join!(reading, client.shutdown());
        ended.unwrap();
        assert_eq!(heard, sent);
        assert_eq!(client.held(), 0);
    });
}

#[test]
fn several_buffers_become_one_record() {
    run(async {
        let (mut client, server) = ours().await;
        let bufs = [&b"one"[..], b"", b"two"].map(io::IoSlice::new);
        let wrote = poll_fn(|cx| Pin::new(&mut client).poll_write_vectored(cx, &bufs)).await;
        assert_eq!(wrote.unwrap(), 6);
        let mut wire = [0; 100];
        server.tcp.readable().await.unwrap();
        assert_eq!(server.tcp.try_read(&mut wire).unwrap(), 6 + 22);
    });
}
