//! Every protocol, between every kind of client and server, in every mode, over IPv4 and IPv6, on ports
//! that declare what they speak and on ports that do not: what must happen, and that it does. Whether a
//! cell was encrypted is read off the pod network: each has a word of its own that is there or not.

#![allow(clippy::unwrap_used)]

mod capture;
mod ends;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use heddle_tests::mesh::Mesh;
use heddle_tests::objects::{self, Certificate, PYTHON};
use serde_json::{Value, json};

use crate::capture::{Capture, MARK};
use crate::ends::{Client, Server};

/// Protocols: the last digit of their ports, and what the port's name declares.
const PROTOCOLS: [(&str, u16, &str); 7] = [
    ("HTTP/1.0", 0, "http"),
    ("HTTP/1.1", 0, "http"),
    ("HTTP/2", 1, "http2"),
    ("gRPC", 2, "grpc"),
    ("WebSocket", 3, "http"),
    ("TCP", 4, "tcp"),
    (APP_TLS, 5, "tls"),
];
const APP_TLS: &str = "app's TLS";
/// The first port of those that declare what they speak, and of those that do not.
const PORTS: [(&str, u16); 2] = [("declared", 8000), ("undeclared", 9000)];

/// What must happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Answered, and nobody on the way could read it.
    Encrypted,
    /// Answered, and readable.
    Clear,
    /// No answer; the server's sidecar counts the reason and logs these words.
    Refused(&'static str, &'static str),
}
use Outcome::{Clear, Encrypted, Refused};

const PLAIN_TEXT: Outcome = Refused("plain-text", "plain text");
/// Its handshake is taken for the mesh's, and has no certificate to show.
const NO_CERTIFICATE: Outcome = Refused("tls", "TLS handshake");

/// Whether the client has a sidecar, whether the server has, and in which mode; what becomes of the
/// application's own TLS, and of everything else.
const RULES: [(bool, bool, &str, Outcome, Outcome); 12] = [
    (true, true, "STRICT", Encrypted, Encrypted),
    (true, true, "PERMISSIVE", Encrypted, Encrypted),
    (true, true, "DISABLE", Clear, Clear),
    // A policy without a sidecar to keep it is a wish.
    (true, false, "STRICT", Clear, Clear),
    (true, false, "PERMISSIVE", Clear, Clear),
    (true, false, "DISABLE", Clear, Clear),
    (false, true, "STRICT", NO_CERTIFICATE, PLAIN_TEXT),
    (false, true, "PERMISSIVE", Clear, Clear),
    (false, true, "DISABLE", Clear, Clear),
    (false, false, "STRICT", Clear, Clear),
    (false, false, "PERMISSIVE", Clear, Clear),
    (false, false, "DISABLE", Clear, Clear),
];

/// One cell, and what came of it.
struct Cell {
    row: String,
    column: usize,
    word: String,
    expected: Outcome,
    said: Value,
    /// Why it is not as it must be; empty: it is.
    wrong: String,
}

#[test]
fn every_cell_of_the_matrix() {
    let mesh = start();
    let capture = Capture::start(&mesh);
    let mut clients = [false, true].map(|meshed| Client::start(&mesh, meshed));
    let mut cells = Vec::new();
    for (column, rule) in RULES.iter().enumerate() {
        let (client_meshed, server_meshed, mode, ..) = *rule;
        let server = Server::find(&mesh, server_meshed, mode);
        let before = server.counted();
        let first = cells.len();
        for question in questions(column, *rule) {
            cells.push(ask(
                question,
                &mut clients[usize::from(client_meshed)],
                &server,
            ));
        }
        if server_meshed {
            let here = &mut cells[first..];
            count_agrees(here, &before, &server);
        }
    }
    let [plain, _] = &mut clients;
    let read = capture.words(|word| {
        let server = Server::find(&mesh, false, "DISABLE");
        plain.ask(json!({"protocol": "TCP", "address": server.ips[0], "port": 8004, "word": word}));
    });
    drop(clients);
    for cell in &mut cells {
        match (cell.expected, read.contains(&cell.word)) {
            (Encrypted, true) => cell.wrong.push_str("could be read on the wire; "),
            (Clear, false) => cell.wrong.push_str("is not on the wire in the clear; "),
            _ => {}
        }
    }
    println!("{}", table(&cells));
    let wrong: Vec<String> = cells
        .iter()
        .filter(|cell| !cell.wrong.is_empty())
        .map(ToString::to_string)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cells:\n{}",
        wrong.len(),
        cells.len(),
        wrong.join("\n")
    );
}

fn start() -> Mesh {
    let mut all = Vec::new();
    let certificate = Certificate::new(&["*.test"]);
    for meshed in [true, false] {
        let namespace = namespace(meshed);
        all.push(objects::namespace(namespace, meshed));
        all.push(certificate.object(namespace));
        let sleep = objects::container("app", &["sleep", "infinity"], None);
        all.push(objects::pod(namespace, "client", &[sleep]));
        for mode in ["STRICT", "PERMISSIVE", "DISABLE"] {
            let name = mode.to_ascii_lowercase();
            let nginx = ["nginx", "-c", "/run/programs/matrix-nginx.conf"];
            let python = [PYTHON, "/run/programs/matrix_server.py"];
            let containers = [
                objects::container("nginx", &nginx, Some(9005)),
                objects::container("python", &python, Some(9004)),
            ];
            all.push(objects::pod(namespace, &name, &containers));
            all.push(objects::peer_authentication(
                namespace,
                Some(("app", &name)),
                mode,
            ));
            all.push(objects::service(namespace, &name, &name, &ports(), false));
        }
    }
    Mesh::start(&[("apps.yaml".into(), objects::manifest(&all))], &[])
}

fn ports() -> Vec<(String, u16)> {
    let mut ports: Vec<(String, u16)> = Vec::new();
    for (_, digit, declares) in PROTOCOLS {
        for (kind, first) in PORTS {
            let name = match kind {
                "declared" => format!("{declares}-{digit}"),
                _ => format!("any-{digit}"),
            };
            ports.push((name, first + digit));
        }
    }
    // HTTP/1.0 and 1.1 share theirs.
    ports.sort_by_key(|(_, port)| *port);
    ports.dedup();
    ports
}

fn namespace(meshed: bool) -> &'static str {
    if meshed { "meshed" } else { "plain" }
}

/// What is asked in a cell.
struct Question {
    cell: Cell,
    protocol: &'static str,
    ipv6: bool,
    port: u16,
}

fn questions(column: usize, rule: (bool, bool, &'static str, Outcome, Outcome)) -> Vec<Question> {
    let mut all = Vec::new();
    for (kind, first) in PORTS {
        for (protocol, digit, _) in PROTOCOLS {
            for ipv6 in [false, true] {
                let word = format!("{MARK}{column:02}{:02}", all.len());
                let expected = if protocol == APP_TLS { rule.3 } else { rule.4 };
                let ip = if ipv6 { "IPv6" } else { "IPv4" };
                let row = format!("{protocol}, {kind}, {ip}");
                let cell = Cell {
                    row,
                    column,
                    word,
                    expected,
                    said: Value::Null,
                    wrong: String::new(),
                };
                all.push(Question {
                    cell,
                    protocol,
                    ipv6,
                    port: first + digit,
                });
            }
        }
    }
    all
}

/// Asks, and sees whether the answer is the expected one, or the refusal the one that is told.
fn ask(question: Question, client: &mut Client, server: &Server) -> Cell {
    let Question {
        mut cell,
        protocol,
        ipv6,
        port,
    } = question;
    // Clients with a sidecar call the service, others a pod: nobody there knows what a service is.
    let addresses = if client.meshed {
        &server.service
    } else {
        &server.ips
    };
    let address = &addresses[usize::from(ipv6)];
    let before = match cell.expected {
        Refused(reason, _) => server.refused(reason),
        _ => 0.0,
    };
    let asked = json!({"protocol": protocol, "address": address, "port": port, "word": cell.word});
    cell.said = client.ask(asked);
    let answered = cell.said["answer"] == cell.word.as_str();
    match cell.expected {
        Encrypted | Clear if !answered => {
            write!(cell.wrong, "was not answered: {}; ", cell.said).unwrap();
        }
        Refused(..) if cell.said["error"].is_null() => cell.wrong.push_str("was answered; "),
        Refused(reason, words) => {
            if !soon(|| server.refused(reason) > before) {
                write!(cell.wrong, "is not counted as {reason}; ").unwrap();
            }
            // Of many refusals of one kind, some are logged: the first one is.
            let to = SocketAddr::new(server.ips[usize::from(ipv6)].parse().unwrap(), port);
            let logged = |line: &str| {
                line.contains("refused")
                    && line.contains(words)
                    && line.contains(&format!("destination={to}"))
            };
            let first = server.logged.borrow_mut().insert(reason);
            if first && !soon(|| server.log().lines().any(logged)) {
                write!(cell.wrong, "is not logged with {to} and {words:?}; ").unwrap();
            }
        }
        _ => {}
    }
    cell
}

/// Whether it is so within seconds: what is counted and logged follows what the client sees.
fn soon(mut so: impl FnMut() -> bool) -> bool {
    (0..500).any(|n| {
        std::thread::sleep(Duration::from_millis(if n == 0 { 0 } else { 20 }));
        so()
    })
}

/// The server's sidecar says of as many requests and connections that they were encrypted, or not.
fn count_agrees(cells: &mut [Cell], before: &[f64; 2], server: &Server) {
    let wanted = [Encrypted, Clear]
        .map(|outcome| cells.iter().filter(|cell| cell.expected == outcome).count() as f64);
    // A connection that was opened to see who speaks first may be counted besides.
    let agrees = |counted: [f64; 2]| {
        counted
            .iter()
            .zip(wanted)
            .all(|(counted, wanted)| match wanted {
                0.0 => *counted == 0.0,
                _ => *counted >= wanted,
            })
    };
    let counted = || [0, 1].map(|n| server.counted()[n] - before[n]);
    if !soon(|| agrees(counted())) {
        let last = cells.last_mut().unwrap();
        let counted = counted();
        write!(
            last.wrong,
            "of this column, {} counts {counted:?} encrypted and clear, not {wanted:?}; ",
            server.name
        )
        .unwrap();
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encrypted => f.pad("mutual TLS"),
            Clear => f.pad("clear"),
            Refused(reason, _) => f.pad(&format!("no: {reason}")),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, server, mode, ..) = RULES[self.column];
        let with = |meshed| if meshed { "meshed" } else { "plain" };
        let (client, server) = (with(client), with(server));
        write!(
            f,
            "{}, {client} client, {server} {mode} server, expected {}: {}",
            self.row, self.expected, self.wrong
        )
    }
}

/// What must happen, and WRONG where it does not.
fn table(cells: &[Cell]) -> String {
    let mut text = String::new();
    for (head, show) in [
        (
            "client",
            (|rule| if rule.0 { "meshed" } else { "plain" })
                as fn(&(bool, bool, &'static str, Outcome, Outcome)) -> &'static str,
        ),
        ("server", |rule| if rule.1 { "meshed" } else { "plain" }),
        ("mode", |rule| rule.2),
    ] {
        write!(text, "\n{head:<28}").unwrap();
        RULES
            .iter()
            .for_each(|rule| write!(text, "{:<15}", show(rule)).unwrap());
    }
    let rows = cells.len() / RULES.len();
    for row in 0..rows {
        write!(text, "\n{:<28}", cells[row].row).unwrap();
        for column in 0..RULES.len() {
            let cell = &cells[column * rows + row];
            match cell.wrong.is_empty() {
                true => write!(text, "{:<15}", cell.expected).unwrap(),
                false => write!(text, "{:<15}", "WRONG").unwrap(),
            }
        }
    }
    text
}
