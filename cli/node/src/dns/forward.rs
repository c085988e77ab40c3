//! Asks the machine's own resolvers, from the root namespace, what the cluster does not know.
//!
//! Bytes are passed as they are, under a fresh random id; an answer counts only from the server that
//! was asked, with that id and the same question.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// For one server; a resolver that is there answers in this time or has nothing to say.
const PATIENCE: Duration = Duration::from_secs(2);
/// As many as libc asks.
const SERVERS: usize = 3;
const HEADER: usize = 12;

/// Asks the servers of a resolv.conf in turn; `None` when none answers.
pub(super) async fn ask(resolv_conf: &Path, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
    for server in servers(resolv_conf) {
        let id = rand::random::<[u8; 2]>();
        let mut asked = query.to_vec();
        asked.get_mut(..2)?.copy_from_slice(&id);
        let exchange = async {
            if tcp {
                over_tcp(server, &asked).await
            } else {
                over_udp(server, &asked).await
            }
        };
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(mut answer)) => {
                answer.get_mut(..2)?.copy_from_slice(query.get(..2)?);
                return Some(answer);
            }
            Ok(Err(error)) => tracing::debug!(%server, %error, "a resolver did not answer"),
            Err(_) => tracing::debug!(%server, "a resolver did not answer in time"),
        }
    }
    None
}

/// Read each time: a laptop changes networks.
fn servers(resolv_conf: &Path) -> Vec<SocketAddr> {
    let text = fs::read_to_string(resolv_conf).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| {
            let word = rest.split_whitespace().next()?;
            // A port is ours, for servers that are not the machine's (tests).
            word.parse::<IpAddr>()
                .map(|ip| SocketAddr::new(ip, 53))
                .or(word.parse())
                .ok()
        })
        .take(SERVERS)
        .collect()
}

async fn over_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(query, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if answers(query, &answer) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Same id, a response, and the same question in whatever case.
fn answers(query: &[u8], answer: &[u8]) -> bool {
    let is_response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    if !is_response || query.get(..2) != answer.get(..2) {
        return false;
    }
    let Some(end) = question_end(query) else {
        return false;
    };
    match (query.get(HEADER..end), answer.get(HEADER..end)) {
        (Some(asked), Some(echoed)) => asked.eq_ignore_ascii_case(echoed),
        _ => false,
    }
}

/// After the one question: labels up to the root, type, class.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        if length > 63 {
            return None;
        }
        at += 1 + length;
        if length == 0 {
            return Some(at + 4);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01";
        let mut answer = query.to_vec();
        answer[2] = 0x81;
        assert!(answers(query, &answer));
        answer[13] = b'A';
        assert!(answers(query, &answer), "case does not matter");
        answer[13] = b'x';
        assert!(!answers(query, &answer));
        let mut other = query.to_vec();
        (other[0], other[2]) = (0, 0x81);
        assert!(!answers(query, &other), "another id");
        assert!(!answers(query, query), "not a response");
        assert!(!answers(b"\0\0", b"\0\0\x80") && !answers(&[0xff; 40], &[0xff; 40]));
    }

    #[test]
    fn nameservers_are_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        fs::write(&path, "# x\nsearch a\nnameserver 192.0.2.1\nnameserver ::1\nnameserver what\nnameserver 127.0.0.1:5353\n").unwrap();
        let found: Vec<String> = servers(&path).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[::1]:53", "127.0.0.1:5353"]);
        assert!(servers(Path::new("/none")).is_empty());
    }
}
