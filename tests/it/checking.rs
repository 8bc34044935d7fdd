//! What `check` and `serve` say of a configuration alike.

use crate::harness::{Dir, eipdns};

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
