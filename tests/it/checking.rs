//! What `check` and `serve` say of a configuration alike.

use crate::harness::{Dir, PRIVATE, eipdns};

#[test]
fn a_token_that_cannot_be_read_is_a_wrong_configuration() {
    let dir = Dir::new("");
    let config = dir.path().to_str().unwrap();
    let token = dir.path().join("token");
    dir.http();
    dir.listen(&format!("http_token_file = \"{}\"", token.display()));
    let told = |command: &str, cause: &str| {
        let out = eipdns(&[command, "--config", config]);
        let told = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(78), "{command}: {told}");
        for part in [token.to_str().unwrap(), cause, "http_token_file"] {
            assert!(told.contains(part), "{part} is not in what {command} says\n{told}");
        }
    };
    for command in ["check", "serve"] {
        told(command, "No such file");
    }
    dir.write("token", " \n");
    for command in ["check", "serve"] {
        told(command, "it is empty");
    }
    dir.write("token", "a token\n");
    let out = eipdns(&["check", "--config", config]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Names are looked up in what files say, and nobody is asked where no source is of EC2.
#[test]
fn names_of_files_are_looked_up() {
    let dir = Dir::with_db("");
    let config = dir.path().to_str().unwrap();
    let check = |code: i32, parts: &[&str]| {
        let out = eipdns(&["check", "--aws", "--config", config]);
        let told = String::from_utf8([&out.stdout[..], &out.stderr].concat()).unwrap();
        assert_eq!(out.status.code(), Some(code), "{told}");
        for part in parts {
            assert!(told.contains(part), "{part:?} is not in\n{told}");
        }
    };
    let answered = format!("\n    vpc          {PRIVATE}\n");
    check(0, &["no source is of type \"ec2\": AWS was not asked", &answered, "1 of 1 names found"]);
    dir.write("example.com.toml", "[names]\ndb = \"75.101.137.9\"\n");
    check(1, &["eipdns: db.example.com. (", "    NOT FOUND in any source", "0 of 1 names found"]);
}

/// There is nobody to ask.
#[test]
#[cfg(not(feature = "ec2"))]
fn without_ec2_there_is_no_init() {
    let dir = Dir::empty();
    let zones = dir.path().join("zones");
    let args = ["init", "--region", "us-east-1", "--zone", "z", "--directory"];
    let out = eipdns(&[&args[..], &[zones.to_str().unwrap()]].concat());
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(told.contains("built without the cargo feature `ec2`") && !zones.exists(), "{told}");
}
