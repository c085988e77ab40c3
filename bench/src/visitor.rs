//! TLS clients of our own that knock at a server pod: one with a certificate of the mesh, which must
//! be let in, and one with a certificate of another authority that claims the very same identity,
//! which must not. The first shows that the second is refused for the right reason.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use heddle_identity::tls::parse_pem_bundle;
use heddle_identity::{MeshTls, SpiffeId};
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, ServerName, pem::PemObject as _};

use crate::cases::Traffic;
use crate::certificates::Certificates;
use crate::check::knock;
use crate::error::{Error, Result};
use crate::netns;
use crate::world::{Place, World};

/// What any proxy with a certificate of the trust domain may offer.
fn alpn(traffic: Traffic) -> &'static [&'static [u8]] {
    match traffic {
        Traffic::Http2 | Traffic::Grpc => &[b"h2"],
        _ => &[b"http/1.1"],
    }
}

/// For an answer or a refusal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// With a certificate of the mesh.
    Friend,
    /// With a certificate of another authority.
    Stranger,
}

/// The two clients.
pub(crate) struct Visitors {
    friend: MeshTls,
    stranger: MeshTls,
    server: SpiffeId,
}

impl Visitors {
    pub(crate) fn new(world: &World, mesh: &Certificates) -> Result<Self> {
        let other = Certificates::new(world, "other-authority")?;
        Ok(Self {
            friend: client(mesh, mesh)?,
            stranger: client(mesh, &other)?,
            server: mesh.id("reviews")?,
        })
    }

    /// Whether a server pod answers one of them.
    pub(crate) fn is_answered(&self, whose: Whose, pod: Place, traffic: Traffic) -> bool {
        let stream = self.says(whose, pod, alpn(traffic), &knock::request(traffic));
        stream.is_ok_and(|mut stream| knock::succeeds(traffic, &mut stream))
    }

    /// What one of them hears first when it speaks to a server pod.
    pub(crate) fn hears(
        &self,
        whose: Whose,
        pod: Place,
        alpn: &'static [&'static [u8]],
        say: &[u8],
    ) -> io::Result<Vec<u8>> {
        let mut stream = self.says(whose, pod, alpn, say)?;
        // A server refuses a certificate after its side of the handshake: with an alert, seen here.
        let mut said = [0; 64];
        let length = stream.read(&mut said)?;
        Ok(said[..length].to_vec())
    }

    fn says(
        &self,
        whose: Whose,
        pod: Place,
        alpn: &'static [&'static [u8]],
        say: &[u8],
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let tls = match whose {
            Whose::Friend => &self.friend,
            Whose::Stranger => &self.stranger,
        };
        let to = pod.app();
        let stream = netns::within(&Place::Node.netns(), || {
            TcpStream::connect_timeout(&to, PATIENCE).map_err(Error::io("knock"))
        });
        let stream = stream.map_err(io::Error::other)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::IpAddress(IpAddr::V4(pod.ip()).into());
        let connection = ClientConnection::new(tls.client_config(&self.server, alpn), name)
            .map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(say)?;
        Ok(stream)
    }
}

/// A client that trusts the mesh, with a certificate from `issuer`.
fn client(mesh: &Certificates, issuer: &Certificates) -> Result<MeshTls> {
    let failed = |error: &dyn ToString| Error::Certificate("a visitor".into(), error.to_string());
    let leaf = issuer.issue("client")?;
    let roots = [mesh.root(), issuer.root()].concat();
    let roots = parse_pem_bundle(roots.as_bytes()).map_err(|e| failed(&e))?;
    let chain = parse_pem_chain(&leaf.chain).map_err(|e| failed(&e))?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(|e| failed(&e))?;
    let tls = MeshTls::new(issuer.id("client")?);
    tls.set_roots(roots).map_err(|e| failed(&e))?;
    tls.set_credential(chain, key).map_err(|e| failed(&e))?;
    Ok(tls)
}

fn parse_pem_chain(
    pem: &str,
) -> std::result::Result<Vec<rustls_pki_types::CertificateDer<'static>>, rustls_pki_types::pem::Error>
{
    rustls_pki_types::CertificateDer::pem_slice_iter(pem.as_bytes()).collect()
}
