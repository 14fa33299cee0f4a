//! Authorities and the certificates of test processes, in PEM files below cargo's temporary folder.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use ulysses_dataplane::TlsFiles;

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Files of a process that other processes reach as `host`, and that trusts this authority.
    pub fn issue(&self, folder: &Path, host: &str) -> TlsFiles {
        self.issue_until(folder, host, 4096)
    }

    pub fn issue_expired(&self, folder: &Path, host: &str) -> TlsFiles {
        self.issue_until(folder, host, 2020)
    }

    fn issue_until(&self, folder: &Path, host: &str, year: i32) -> TlsFiles {
        let mut params = CertificateParams::new([host.to_string()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        fs::create_dir_all(folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        TlsFiles {
            cert: file("cert.pem", &cert),
            key: file("key.pem", &key.serialize_pem()),
            ca: file("ca.pem", &self.pem),
            server_name: None,
        }
    }
}

/// A folder of its own, empty.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}
