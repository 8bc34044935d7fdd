//! TLS before a stand-in: what EC2 has, and our own connector must read the same.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::peers;

/// Ends TLS and passes octets on, in order, until either side ends.
const RELAY: &str = "
import select, socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('leaf.pem', 'leaf.key')
target = sys.argv[1].rsplit(':', 1)
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)

def relay(plain):
    try:
        with context.wrap_socket(plain, server_side=True) as tls, \\
                socket.create_connection(target) as to:
            while True:
                ready = [tls] if tls.pending() else select.select([tls, to], [], [])[0]
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    (to if one is tls else tls).sendall(data)
    except OSError:
        pass

while True:
    threading.Thread(target=relay, args=[listener.accept()[0]], daemon=True).start()
";

/// A CA, and a certificate by it for 127.0.0.1.
const CERTIFY: &str = r#"set -e
key="-nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256"
$1 req -x509 $key -keyout ca.key -out ca.pem -days 2 -subj "/CN=ours" \
    -addext basicConstraints=critical,CA:TRUE
$1 req $key -keyout leaf.key -out leaf.csr -subj "/CN=a stand-in"
echo "subjectAltName=IP:127.0.0.1" >leaf.ext
$1 x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile leaf.ext -out leaf.pem
"#;

/// A relay that runs until this is dropped.
pub(super) struct Tls {
    dir: TempDir,
    child: Child,
    port: u16,
}

impl Tls {
    /// None without openssl or Python, loudly.
    pub(super) fn before(target: SocketAddr) -> Option<Self> {
        let (openssl, python) = (peers::need("openssl")?, peers::need("python3")?);
        let dir = tempfile::tempdir().unwrap();
        let mut certify = Command::new("sh");
        certify.current_dir(&dir).args(["-c", CERTIFY, "sh"]).arg(openssl);
        let out = certify.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let mut child = Command::new(python)
            .current_dir(&dir)
            .args(["-I", "-u", "-c", RELAY, &target.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port = port.trim().parse().expect("where it listens");
        Some(Self { dir, child, port })
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The CA's certificate, for `SSL_CERT_FILE`.
    pub(super) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
