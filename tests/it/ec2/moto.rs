//! moto's server as EC2 and STS: real state machines of instances, interfaces
//! and addresses, driven by the real AWS CLI, or by its own protocol where the
//! CLI's half second a call would be too long.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use serde_json::Value;

use super::{web, with_keys};
use crate::harness::PATIENCE;
use crate::peers;

/// A running moto.
pub(super) struct Moto {
    child: Child,
    pub(super) address: SocketAddr,
    aws: PathBuf,
}

impl Moto {
    /// None when it or the CLI is not installed, loudly.
    pub(super) fn start() -> Option<Self> {
        let (server, aws) = (peers::need("moto_server")?, peers::need("aws")?);
        let mut child = Command::new(server)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, at)) = line.split_once("Running on http://") {
                    // Nobody waits any longer: the test has failed.
                    let _ = tell.send(at.trim().parse().unwrap());
                }
            }
        });
        let mut moto = Self { child, address: ([127, 0, 0, 1], 0).into(), aws };
        moto.address = told.recv_timeout(PATIENCE).expect("moto says where it listens");
        // The first call loads its models, which takes seconds.
        moto.in_region("us-east-1").call("DescribeAddresses", &[]);
        Some(moto)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The test's own account in a region.
    pub(super) fn in_region<'m>(&'m self, region: &'m str) -> Account<'m> {
        Account { moto: self, region, key: "test".into() }
    }

    /// The account of a role.
    pub(super) fn of_role<'m>(&'m self, region: &'m str, arn: &str) -> Account<'m> {
        let body = self.in_region(region).post(
            "sts",
            &format!(
                "Version=2011-06-15&Action=AssumeRole&RoleSessionName=test&RoleArn={}",
                arn.replace(':', "%3A").replace('/', "%2F")
            ),
        );
        Account { moto: self, region, key: between(&body, "<AccessKeyId>", "<").into() }
    }

    /// From now on every call must be signed, and allowed by a policy; or none must be.
    pub(super) fn authorise(&self, is_on: bool) {
        let free_calls = if is_on { "0" } else { "inf" };
        let (status, body) = web::post_text(self.address, "/moto-api/reset-auth", free_calls);
        assert_eq!(status, 200, "{body}");
    }

    /// Runs the real CLI; gives what it prints.
    pub(super) fn aws(&self, args: &[&str]) -> Value {
        let mut command = Command::new(&self.aws);
        with_keys(&mut command);
        command.args(args).args(["--output", "json", "--region", "us-east-1"]);
        let out = command.arg("--endpoint-url").arg(self.url()).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap_or(Value::Null)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One account in one region.
pub(super) struct Account<'m> {
    moto: &'m Moto,
    region: &'m str,
    key: String,
}

impl Account<'_> {
    fn post(&self, service: &str, form: &str) -> String {
        // moto looks at account, region and service, not at the signature.
        let signed = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={}/20260101/{}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n",
            self.key, self.region
        );
        let (status, body) = web::form(self.moto.address, &signed, form);
        assert_eq!(status, 200, "{form}: {body}");
        body
    }

    /// One call of EC2's; the values must need no escaping.
    pub(super) fn call(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut form = format!("Version=2016-11-15&Action={action}");
        for (name, value) in parameters {
            form += &format!("&{name}={value}");
        }
        self.post("ec2", &form)
    }

    fn subnet(&self) -> String {
        // Of several, one that has the addresses used here.
        let body = self.call("DescribeSubnets", &[]);
        let items = body.split("<item>").filter(|item| item.contains("<cidrBlock>172.31.0.0/20<"));
        let item = items.last().expect("moto's default VPC");
        between(item, "<subnetId>", "<").into()
    }

    /// A network interface at this address, of 172.31.0.0/20.
    pub(super) fn interface(&self, private: &str) -> String {
        let subnet = self.subnet();
        let asked = [("SubnetId", subnet.as_str()), ("PrivateIpAddress", private)];
        let body = self.call("CreateNetworkInterface", &asked);
        between(&body, "<networkInterfaceId>", "<").into()
    }

    /// An instance at this address, of 172.31.0.0/20.
    pub(super) fn instance(&self, private: &str) -> String {
        let subnet = self.subnet();
        let images = self.call("DescribeImages", &[("MaxResults", "1")]);
        let body = self.call(
            "RunInstances",
            &[
                ("ImageId", between(&images, "<imageId>", "<")),
                ("MinCount", "1"),
                ("MaxCount", "1"),
                ("InstanceType", "t3.micro"),
                ("SubnetId", &subnet),
                ("PrivateIpAddress", private),
            ],
        );
        between(&body, "<instanceId>", "<").into()
    }

    /// This Elastic IP, with a tag; gives the allocation.
    pub(super) fn allocate(&self, public: &str, key: &str, value: &str) -> String {
        let body = self.call(
            "AllocateAddress",
            &[
                ("Domain", "vpc"),
                ("Address", public),
                ("TagSpecification.1.ResourceType", "elastic-ip"),
                ("TagSpecification.1.Tag.1.Key", key),
                ("TagSpecification.1.Tag.1.Value", value),
            ],
        );
        between(&body, "<allocationId>", "<").into()
    }

    /// Moves the address to an interface; gives the association.
    pub(super) fn associate(&self, allocation: &str, interface: &str) -> String {
        let body = self.call(
            "AssociateAddress",
            &[
                ("AllocationId", allocation),
                ("NetworkInterfaceId", interface),
                ("AllowReassociation", "true"),
            ],
        );
        between(&body, "<associationId>", "<").into()
    }
}

/// What stands in `text` after the first `start` and before the next `end`.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let rest = text.split_once(start).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once(end)).unwrap_or_else(|| panic!("{start} in {text}")).0
}
