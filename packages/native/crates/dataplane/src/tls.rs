//! Certificates of one plane, and the handshakes made with them.
//!
//! Both ends show a certificate of an authority that the other accepts. Sessions are never resumed: every connection is
//! verified against the files as they are then.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, Error as TlsError, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::error::{Code, Error, Result};
use crate::lock;
use crate::options::TlsFiles;

/// A peer that says nothing has failed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a refused peer is listened to, so that it reads why before its connection is reset.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Tls {
    files: TlsFiles,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    stamps: [Option<Stamp>; 3],
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

/// What changes when a file does.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Tls {
    /// Fails with CONFIG when a file cannot be used.
    pub(crate) fn open(files: TlsFiles) -> Result<Tls> {
        let loaded = load(&files)?;
        Ok(Tls { files, loaded: Mutex::new(loaded) })
    }

    /// Reads files that changed. While they cannot be used, as when only one of them is written yet, those of before serve.
    fn refresh(&self) -> std::sync::MutexGuard<'_, Loaded> {
        let mut loaded = lock(&self.loaded);
        if stamps(&self.files) != loaded.stamps
            && let Ok(fresh) = load(&self.files)
        {
            *loaded = fresh;
        }
        loaded
    }

    /// Proves that the peer is who `address` says.
    pub(crate) async fn connect<IO>(&self, stream: IO, address: &str) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = self.files.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_string())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?}: {error}")))?;
        let connector = self.refresh().connector.clone();
        Ok(connector.connect(name, stream).await?.into())
    }

    /// None for a peer that could not prove who it is; it was told why.
    pub(crate) async fn accept<IO>(&self, stream: IO) -> Option<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.refresh().acceptor.clone();
        match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible()).await.ok()? {
            Ok(stream) => Some(stream.into()),
            Err((_, stream)) => {
                // That it took too long is the peer's loss.
                let _ = timeout(REFUSAL_TIMEOUT, hear_out(stream)).await;
                None
            }
        }
    }
}

/// Closing with bytes unread would reset the connection, and the peer would lose the alert that says why.
async fn hear_out<IO: AsyncRead + AsyncWrite + Unpin>(mut stream: IO) -> io::Result<()> {
    stream.shutdown().await?;
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// What a failed handshake says about who the peers are; none when it failed for another reason.
pub(crate) fn refusal(error: &io::Error) -> Option<String> {
    Some(match error.get_ref()?.downcast_ref::<TlsError>()? {
        TlsError::InvalidCertificate(why) => format!("its certificate is not accepted: {why}"),
        TlsError::AlertReceived(alert) => format!("it does not accept this process's certificate: {alert:?}"),
        TlsError::InvalidMessage(_) => "it does not speak TLS, expected TLS as certificates are given".into(),
        other => format!("TLS: {other}"),
    })
}

/// The same for the first bytes that a peer sends in plaintext: a TLS alert begins so, and no HTTP/2 frame.
pub(crate) fn plaintext_refusal(bytes: &[u8]) -> Option<String> {
    let is_alert = bytes.starts_with(&[0x15, 0x03]);
    is_alert.then(|| "it speaks TLS, expected plaintext as no certificates are given".into())
}

fn load(files: &TlsFiles) -> Result<Loaded> {
    // Before they are read: a change in the meantime is seen next time.
    let stamps = stamps(files);
    let invalid = |path: &Path, error: &dyn std::fmt::Display| {
        Error::new(Code::Config, format!("tls: {}: {error}", path.display()))
    };
    let chain = certificates(&files.cert).map_err(|error| invalid(&files.cert, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| invalid(&files.key, &error))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&files.ca).map_err(|error| invalid(&files.ca, &error))? {
        roots.add(authority).map_err(|error| invalid(&files.ca, &error))?;
    }
    let (provider, roots) = (Arc::new(ring::default_provider()), Arc::new(roots));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let verifier = verifier.build().map_err(|error| invalid(&files.ca, &error))?;

    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| {
            builder.with_client_cert_verifier(verifier).with_single_cert(chain.clone(), key.clone_key())
        })
        .map_err(|error| invalid(&files.cert, &error))?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;

    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
        .map_err(|error| invalid(&files.cert, &error))?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    client.resumption = Resumption::disabled();
    Ok(Loaded { stamps, connector: Arc::new(client).into(), acceptor: Arc::new(server).into() })
}

fn certificates(path: &Path) -> std::result::Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let found: Vec<_> = found.collect::<std::result::Result<_, _>>().map_err(|error| error.to_string())?;
    if found.is_empty() { Err("no certificate in it, expected PEM".into()) } else { Ok(found) }
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 3] {
    [&files.cert, &files.key, &files.ca].map(|path| fs::metadata(path).ok().map(|file| stamp(&file)))
}

fn stamp(file: &Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    Stamp { modified: file.modified().ok(), bytes: file.len(), inode: file.ino() }
}
