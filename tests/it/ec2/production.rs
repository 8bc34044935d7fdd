//! The whole as in production: a host in a VPC with no endpoint, no region and no
//! key configured. It has the VPC's resolver at 169.254.169.253, IMDSv2 at
//! 169.254.169.254, EC2 and STS over TLS under their real names by a CA in the
//! trust store, and nobody but eipdns in resolv.conf.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::bare;
use super::moto::Moto;
use crate::fixtures::daemon::{Daemon, unbound_by};
use crate::fixtures::namespace::Namespace;
use crate::fixtures::waiting::until;
use crate::harness::{Dir, PROGRAM, Server, root};
use crate::peers;

/// Where eipdns is asked, in the VPC.
const US: &str = "10.0.0.2";
/// Interface endpoints of the two services. That of STS lies in a network of its
/// own, where without it nobody answers: packets to it are lost.
const EC2: &str = "10.0.0.20";
const STS: &str = "10.0.9.30";
const STS_NETWORK: &str = "10.0.9.1/24";

const ELASTIC: &str = "203.0.113.9";
const EC2_NAME: &str = "ec2-203-0-113-9.compute-1.amazonaws.com";
/// In the partner's account.
const PARTNERS: &str = "203.0.113.77";
const ROLE: &str = "arn:aws:iam::111122223333:role/dns";

/// Private addresses: instances one and two, and the partner's.
const ONE: &str = "172.31.0.11";
const TWO: &str = "172.31.0.12";
const PARTNER: &str = "172.31.0.21";
/// www.example.org, which we forward.
const FOREIGN: &str = "192.0.2.80";

const HTTP: &str = "127.0.0.1:8053";

/// For how long the metadata service gives keys, in seconds.
const LIFE: &str = "4";

const SERVER: &str = r#"
[listen]
dns = ["10.0.0.2:53"]
http = "127.0.0.1:8053"

[aws]
resolvers = ["169.254.169.253"]

[[source]]
name = "main"
type = "ec2"
poll = "500ms"

[[source]]
name = "partner"
type = "ec2"
poll = "500ms"
role_arn = "arn:aws:iam::111122223333:role/dns"

[[view]]
name = "vpc"
clients = ["10.0.0.0/16"]
answer = "private"
ec2_names = true
forward = true

[[forward]]
upstreams = ["169.254.169.253"]
"#;

/// The elements of the VPC, each of which ends when it is dropped.
struct Vpc {
    namespace: Namespace,
    moto: Moto,
    dir: Dir,
    /// What decides about `vpc.py`.
    control: TempDir,
    getent: PathBuf,
    ip: PathBuf,
    aws: PathBuf,
    /// By number of instance: one and two.
    instances: [String; 2],
    allocation: String,
    _resolver: Daemon,
    _services: Daemon,
}

impl Vpc {
    /// None without a peer or the right to make a namespace, loudly.
    fn new() -> Option<Self> {
        let peers = ["getent", "ip", "aws", "openssl", "python3"].map(peers::need);
        let [Some(getent), Some(ip), Some(aws), Some(openssl), Some(python)] = peers else {
            return None;
        };
        let own = |address: &str| format!("{address}/32");
        let addresses = [US, EC2, STS, "169.254.169.253", "169.254.169.254"].map(own);
        let namespace = Namespace::new(&addresses.each_ref().map(String::as_str))?;
        let link = "link add v0 type veth peer name v1; link set v0 up; link set v1 up";
        for args in link.split("; ").chain([&*format!("address add {STS_NETWORK} dev v0")]) {
            let args: Vec<_> = args.split(' ').collect();
            assert!(namespace.said(&ip, &args).is_some(), "ip {args:?}");
        }
        let control = tempfile::tempdir().unwrap();
        for name in ["ours", "strange"] {
            certify(&openssl, control.path(), name);
        }
        let resolver = resolver(&namespace)?;
        let moto = Moto::start()?;
        relay(&control.path().join("moto.sock"), &moto);
        let account = moto.in_region("us-east-1");
        let instances = [ONE, TWO].map(|private| account.instance(private));
        let allocation = account.allocate(ELASTIC, "Name", "db");
        let partner = moto.of_role("us-east-1", ROLE);
        partner.associate(&partner.allocate(PARTNERS, "Name", "api"), &partner.interface(PARTNER));
        let dir = Dir::empty();
        dir.write("server.toml", SERVER);
        let names = format!("[names]\ndb = \"{ELASTIC}\"\napi = \"{PARTNERS}\"\n");
        dir.write("example.com.toml", &names);
        show(control.path(), "ours");
        fs::write(control.path().join("life"), LIFE).unwrap();
        let services = services(&namespace, &python, control.path());
        namespace.resolv_conf(&format!("nameserver {US}\noptions timeout:5 attempts:3\n"));
        let vpc = Self {
            namespace,
            moto,
            dir,
            control,
            getent,
            ip,
            aws,
            instances,
            allocation,
            _resolver: resolver,
            _services: services,
        };
        vpc.moved_by_moto(&vpc.instances[0]);
        Some(vpc)
    }

    /// eipdns, as a service manager starts it but for the trust store.
    fn start(&self) -> Server {
        Server::start_by(self.instance(), self.dir.path(), |command| {
            command.env("SSL_CERT_FILE", self.control.path().join("ours.pem"));
        })
    }

    /// What runs a program on the instance: with no files, keys, endpoint or region
    /// of AWS's.
    fn instance(&self) -> Command {
        let mut command = self.namespace.inside();
        bare(&mut command);
        command.env_remove("AWS_EC2_METADATA_DISABLED");
        command.env("HOME", self.dir.path());
        command
    }

    fn on_instance(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.instance();
        command.arg(program);
        command
    }

    /// What a command of ours prints.
    fn eipdns(&self, args: &[&str]) -> String {
        let mut command = self.on_instance(Path::new(PROGRAM));
        command.args(args).arg("--config").arg(self.dir.path()).args(["--listen-http", HTTP]);
        let out = command.output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    /// What status says of a source.
    fn status(&self, source: &str) -> Value {
        let status: Value = serde_json::from_str(&self.eipdns(&["status", "--json"])).unwrap();
        let all = status["sources"].as_array().unwrap();
        all.iter().find(|one| one["name"] == source).unwrap().clone()
    }

    /// The addresses that glibc finds.
    fn glibc(&self, name: &str) -> Vec<String> {
        let said = self.namespace.said(&self.getent, &["ahostsv4", name]).unwrap_or_default();
        let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        let mut all: Vec<_> = said.lines().map(first).collect();
        all.dedup();
        all
    }

    /// Every kind of name, with the address of `db`.
    #[track_caller]
    fn answers(&self, db: &str) {
        for (name, address) in [
            ("db.example.com", db),
            (EC2_NAME, db),
            ("api.example.com", PARTNER),
            ("www.example.org", FOREIGN),
        ] {
            assert_eq!(self.glibc(name), [address], "{name}");
        }
    }

    /// The move, by the operator's own tool on an instance: that finds EC2 through
    /// us, and knows no more of it than its region.
    fn moved_by_aws(&self, instance: &str) {
        let mut command = self.on_instance(&self.aws);
        command.args(["ec2", "associate-address", "--allow-reassociation"]);
        command.args(["--region", "us-east-1", "--output", "json"]);
        command.args(["--allocation-id", &self.allocation, "--instance-id", instance]);
        let trusted = self.control.path().join("ours.pem");
        let out = command.env("AWS_CA_BUNDLE", trusted).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// The same from elsewhere.
    fn moved_by_moto(&self, instance: &str) {
        self.moto.in_region("us-east-1").call(
            "AssociateAddress",
            &[
                ("AllocationId", &self.allocation),
                ("InstanceId", instance),
                ("AllowReassociation", "true"),
            ],
        );
    }

    /// STS is there, or packets to it are lost.
    fn sts(&self, there: bool) {
        let act = if there { "add" } else { "del" };
        let done =
            self.namespace.run(&self.ip, &["address", act, &format!("{STS}/32"), "dev", "lo"]);
        assert!(done.status.success(), "{done:?}");
    }

    /// What EC2 and STS were asked: service, access key, action.
    fn asked(&self) -> Vec<[String; 3]> {
        let said = fs::read_to_string(self.control.path().join("asked")).unwrap_or_default();
        let words = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            words.try_into().unwrap()
        };
        said.lines().map(words).collect()
    }
}

/// A CA of this name, `NAME.pem`, and a certificate by it for EC2 and STS with its
/// key, `NAME.both`.
fn certify(openssl: &Path, dir: &Path, name: &str) {
    let script = r#"set -e
openssl=$1 name=$2
key="-nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256"
$openssl req -x509 $key -keyout ca.key -out $name.pem -days 2 -subj "/CN=$name" \
    -addext basicConstraints=critical,CA:TRUE
$openssl req $key -keyout $name.key -out leaf.csr -subj "/CN=services of AWS"
echo "subjectAltName=DNS:ec2.us-east-1.amazonaws.com,DNS:sts.us-east-1.amazonaws.com" >leaf.ext
$openssl x509 -req -in leaf.csr -CA $name.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile leaf.ext -out leaf.pem
cat leaf.pem $name.key >$name.both
"#;
    let mut command = Command::new("sh");
    command.current_dir(dir).args(["-c", script, "sh"]).arg(openssl).arg(name);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// EC2 and STS show the certificate by this CA from now on.
fn show(control: &Path, name: &str) {
    let aside = control.join("aside");
    fs::copy(control.join(format!("{name}.both")), &aside).unwrap();
    fs::rename(aside, control.join("certificate.pem")).unwrap();
}

/// The VPC's resolver, as AWS gives it: the endpoints, and all other names.
fn resolver(namespace: &Namespace) -> Option<Daemon> {
    let mut more =
        String::from("server:\n access-control: 0.0.0.0/0 allow\n local-zone: \".\" static\n");
    for (name, address) in [
        ("ec2.us-east-1.amazonaws.com", EC2),
        ("sts.us-east-1.amazonaws.com", STS),
        ("www.example.org", FOREIGN),
    ] {
        more += &format!(" local-data: \"{name}. 60 IN A {address}\"\n");
    }
    let at = ([169, 254, 169, 253], 53).into();
    unbound_by(|program| namespace.command(program), at, &more)
}

/// The metadata service, EC2 and STS.
fn services(namespace: &Namespace, python: &Path, control: &Path) -> Daemon {
    let mut command = namespace.command(python);
    command.args(["-I", "-u"]).arg(root().join("tests/it/ec2/vpc.py"));
    command.arg(control).args([EC2, STS]);
    let at = ([169, 254, 169, 254], 80).into();
    Daemon::start(command, at, tempfile::tempdir().unwrap(), "the VPC is there")
}

/// Leads from a socket's file to moto, which is outside of the namespace.
fn relay(file: &Path, moto: &Moto) {
    let (listener, to) = (UnixListener::bind(file).unwrap(), moto.address);
    // Waits in vain once the file is gone, until the process ends.
    thread::spawn(move || {
        for from in listener.incoming().map_while(Result::ok) {
            // moto has ended, and the test with it.
            let Ok(to) = TcpStream::connect(to) else { return };
            thread::spawn(move || drop(join(&from, &to)));
        }
    });
}

fn join(a: &UnixStream, b: &TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (a.try_clone()?, b.try_clone()?);
    let forth = thread::spawn(move || {
        let copied = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write).and(copied)
    });
    io::copy(&mut &*b, &mut &*a)?;
    a.shutdown(Shutdown::Both)?;
    // It ends with the connection.
    drop(forth.join());
    Ok(())
}

/// Has sources called at once, as often as it takes, until status says of one what
/// `is` wants: the pause after failures is no matter of this test, nor what the log
/// says only once a minute.
fn shows(vpc: &Vpc, source: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(&format!("what is wanted of source {source}"), || {
        // It ends when what the calls brought is published, good or not.
        vpc.eipdns(&["refresh"]);
        let status = vpc.status(source);
        if is(&status) { Ok(status) } else { Err(status) }
    })
}

fn recovers(vpc: &Vpc, source: &str) {
    shows(vpc, source, |status| status["health"] == "healthy");
}

/// Waits until a source is stalled because of what these words say.
fn stalls(vpc: &Vpc, source: &str, because: &[&str]) {
    let says =
        |status: &Value, part: &&str| status["why"].as_str().is_some_and(|why| why.contains(part));
    let status = shows(vpc, source, |status| says(status, &because[0]));
    assert_eq!(status["health"], "stalled", "{status:#}");
    for part in because {
        assert!(says(&status, part), "{part} is not in {status:#}");
    }
}

#[test]
fn as_in_production() {
    let Some(vpc) = Vpc::new() else { return };
    let mut server = vpc.start();
    recovers(&vpc, "main");
    recovers(&vpc, "partner");
    vpc.answers(ONE);
    assert_eq!(vpc.status("main")["region"], "us-east-1");
    // The role's keys ask EC2, and STS for the partner's.
    let asked = vpc.asked();
    let by_role = |[service, key, action]: &[String; 3]| {
        key.starts_with("ASIAROLE").then(|| format!("{service} {action}"))
    };
    let by_role: Vec<_> = asked.iter().filter_map(by_role).collect();
    for call in ["ec2 DescribeAddresses", "sts AssumeRole"] {
        assert!(by_role.iter().any(|one| one == call), "{call} is not in {asked:?}");
    }
    vpc.moved_by_aws(&vpc.instances[1]);
    server.wait_for_move("new", TWO);
    vpc.answers(TWO);

    keys_run_out(&vpc, &mut server);
    a_certificate_that_no_root_vouches_for(&vpc);
    sts_out_of_reach(&vpc, server);
}

/// The role is taken off the instance. The SDK gives the last keys for ever.
fn keys_run_out(vpc: &Vpc, server: &mut Server) {
    let life = vpc.control.path().join("life");
    fs::remove_file(&life).unwrap();
    stalls(vpc, "main", &["the credentials ended at 20", "check the instance's role"]);
    // The partner's keys are good for an hour.
    assert_eq!(vpc.status("partner")["health"], "healthy");
    vpc.answers(TWO);
    vpc.moved_by_moto(&vpc.instances[0]);
    fs::write(life, LIFE).unwrap();
    recovers(vpc, "main");
    server.wait_for_move("new", ONE);
    vpc.answers(ONE);
}

/// As behind a proxy that opens TLS, or on a host without the CA's certificate.
fn a_certificate_that_no_root_vouches_for(vpc: &Vpc) {
    show(vpc.control.path(), "strange");
    for source in ["main", "partner"] {
        let why = ["TLS with ec2.us-east-1.amazonaws.com", "vouches for its", "(SSL_CERT_FILE)"];
        stalls(vpc, source, &why);
    }
    vpc.answers(ONE);
    vpc.moved_by_moto(&vpc.instances[1]);
    show(vpc.control.path(), "ours");
    recovers(vpc, "main");
    recovers(vpc, "partner");
    vpc.answers(TWO);
}

/// A start in a subnet with an endpoint of EC2's and none of STS's.
fn sts_out_of_reach(vpc: &Vpc, mut server: Server) {
    server.signal("KILL");
    server.ended();
    vpc.sts(false);
    let server = vpc.start();
    let why = [
        "STS, asked for `role_arn`: no connection to sts.us-east-1.amazonaws.com",
        "the service's VPC endpoint",
    ];
    stalls(vpc, "partner", &why);
    recovers(vpc, "main");
    // What is known of the partner's stands.
    vpc.answers(TWO);
    vpc.sts(true);
    recovers(vpc, "partner");
    vpc.answers(TWO);
    assert!(server.stop().success());
}
