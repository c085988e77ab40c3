//! What an idle connection holds on the heap: two sidecars' workers in a network namespace of this
//! test's own, with the real redirects, kept-alive connections that have carried a request each, and
//! the bytes that each worker's thread has allocated and not freed. Needs root, as redirects do.
//! Bounds are what was measured when written, and a little.

mod world;

use std::io::{Read, Write};
use std::net::TcpStream;

use self::world::{Application, Side, World};

/// Connections by which the figures are told apart from what is made once.
const CONNECTIONS: usize = 200;
/// Connections before: lists and tables have grown when these are made.
const WARM: usize = 30;

/// What is measured, and how many bytes of heap it may hold.
const BOUNDS: [(&str, i64); 6] = [
    ("opaque connection, at the client's", 5_600),
    ("opaque connection, at the server's", 5_800),
    ("outbound connection, plain", 3_700),
    ("upstream connection, mutual TLS", 32_000),
    ("inbound connection, mutual TLS", 7_500),
    ("connection to the application", 28_500),
];

#[test]
fn an_idle_connection_holds_little() {
    // The thread takes its namespace with it.
    let measured = std::thread::spawn(measure).join().unwrap();
    println!("{measured:#?}");
    for ((what, bytes), (_, most)) in measured.into_iter().zip(BOUNDS) {
        assert!(bytes <= most, "{what}: {bytes} bytes, at most {most}");
    }
}

fn measure() -> Vec<(&'static str, i64)> {
    let world = World::new();
    let application = Application::start();
    let outbound = Side::start(world.outbound());
    let inbound = Side::start(world.inbound());
    let mut clients = Clients::default();

    let mut opaque = Opaque::default();
    opaque.connect(WARM);
    outbound.begin();
    inbound.begin();
    opaque.connect(CONNECTIONS);
    let relayed = (outbound.end(), inbound.end());

    clients.connect(WARM);
    let accepted = {
        outbound.begin();
        clients.connect(CONNECTIONS);
        outbound.end()
    };
    // As many requests at a time need as many connections between the sidecars. The application
    // closes its own, so that only those remain.
    outbound.begin();
    inbound.begin();
    clients.at_once(&application, "/close");
    let (upstream, received) = (outbound.end(), inbound.end());
    inbound.begin();
    clients.at_once(&application, "/keep");
    let pooled = inbound.end();

    let made = (clients.0.len() - 1) as i64;
    let figures = [
        relayed.0 / CONNECTIONS as i64,
        relayed.1 / CONNECTIONS as i64,
        accepted / CONNECTIONS as i64,
        upstream / made,
        received / made,
        pooled / made,
    ];
    BOUNDS
        .map(|(what, _)| what)
        .into_iter()
        .zip(figures)
        .collect()
}

/// The application's clients: connections of which each has carried a request.
#[derive(Default)]
struct Clients(Vec<TcpStream>);

impl Clients {
    /// Opens more, one after the other.
    fn connect(&mut self, count: usize) {
        for _ in 0..count {
            let mut stream = TcpStream::connect(world::SERVICE).unwrap();
            ask(&mut stream, "/");
            answer(&mut stream);
            self.0.push(stream);
        }
        self.settle();
    }

    /// Sends one request on each, and waits for the answers, none of which comes before all have
    /// asked.
    fn at_once(&mut self, application: &Application, path: &str) {
        application.answer_together(self.0.len());
        for stream in &mut self.0 {
            ask(stream, path);
        }
        for stream in &mut self.0 {
            answer(stream);
        }
        application.answer_together(1);
        self.settle();
    }

    /// What follows a response is done, in both workers, before another request is.
    fn settle(&mut self) {
        for _ in 0..3 {
            ask(&mut self.0[0], "/");
            answer(&mut self.0[0]);
        }
    }
}

/// Connections of which each has carried a byte each way.
#[derive(Default)]
struct Opaque(Vec<TcpStream>);

impl Opaque {
    /// Opens more, one after the other.
    fn connect(&mut self, count: usize) {
        for _ in 0..count {
            let mut stream = TcpStream::connect(world::OPAQUE).unwrap();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            self.0.push(stream);
        }
    }
}

fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: web\r\nuser-agent: test\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

fn answer(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let mut read = 0;
    while !buffer[..read].ends_with(world::BODY) {
        match stream.read(&mut buffer[read..]).unwrap() {
            0 => panic!("{}", String::from_utf8_lossy(&buffer[..read])),
            more => read += more,
        }
    }
    assert!(buffer.starts_with(b"HTTP/1.1 200 "));
}
