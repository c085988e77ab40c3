//! What the end-to-end tests share: a mesh of its own for each test, made by the `heddle` command
//! as a user would make it, programs to run in its pods, and load that counts what fails. Everything
//! is taken down when the test ends, however it ends.

pub mod chaos;
pub mod echo;
pub mod envoy;
pub mod grpc;
pub mod load;
pub mod mesh;
pub mod netns;
pub mod objects;
pub mod reflect;
pub mod scrape;
pub mod soak;
pub mod table;
pub mod traffic;
pub mod wait;
pub mod websocket;
