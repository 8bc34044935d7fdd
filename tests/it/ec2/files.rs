//! The files that the SDK reads by itself: what has no end is not read.

use std::process::Command;

use super::scripted::Ec2;
use super::{answer, asked, bare, configure, refresh, source, start};
use crate::harness::Server;

/// The SDK reads a file to its end: of /dev/zero, until there is no memory left.
#[test]
fn a_device_or_pipe_for_a_file_of_aws_is_told_and_not_read() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "n1 = \"75.101.137.1\"");
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (variable, file) in [
        ("AWS_CONFIG_FILE", "/dev/zero"),
        ("AWS_SHARED_CREDENTIALS_FILE", pipe.to_str().unwrap()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", pipe.to_str().unwrap()),
        ("SSL_CERT_FILE", "/dev/zero"),
    ] {
        let mut server = Server::start_with(dir.path(), |command| {
            bare(command);
            command.env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/dns");
            command.env("HOME", dir.path()).env(variable, file);
        });
        let stalled = server.wait_for_stall();
        assert_eq!(stalled["fields"]["class"], "credentials", "{stalled}");
        let error = stalled["fields"]["error"].as_str().unwrap();
        let expected = format!("{file} ({variable}): it is not a regular file");
        assert!(error.contains(&expected), "{error}");
        assert!(refresh(&server, false)[0].contains(&expected));
        assert_eq!(server.status()["sources"][0]["health"], "stalled");
        assert!(server.stop().success());
    }
    assert_eq!(ec2.calls(), 0);
    // Mended.
    let mut server = start(&dir);
    server.wait_for("source delivers");
    refresh(&server, false);
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
}
