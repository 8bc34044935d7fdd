//! Commands: what they take, what they print, how they end.
//!
//! A command prints its result to stdout and what went wrong to stderr, and
//! ends with one of the codes of [`Exit`].

mod access;
mod check;
mod dump;
mod explain;
mod init;
mod logging;
pub mod offline;
mod print;
mod raw;
mod refresh;
mod reload;
mod remote;
mod serve;
mod status;
mod survey;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::cli::offline::Offline;
use crate::config::{self, Loaded, Overrides};
use crate::diag::Problem;
use crate::source::ec2;

/// How a command ends (sysexits.h where it has a code for it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; the answer is yes.
    Ok = 0,
    /// The answer is no.
    No = 1,
    /// The command line makes no sense (EX_USAGE).
    Usage = 64,
    /// The running server cannot be reached (EX_UNAVAILABLE).
    Unreachable = 69,
    /// Our own failure (EX_SOFTWARE).
    Internal = 70,
    /// The answer could not be printed (EX_IOERR): nobody reads it, or the disk
    /// is full.
    Unread = 74,
    /// The configuration is wrong (EX_CONFIG).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Internal, split-horizon, authoritative DNS for EC2: names that follow
/// Elastic IPs.
#[derive(Debug, Parser)]
#[command(name = "eipdns", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one value in the life of the process")]
enum Command {
    /// Answers queries; what `eipdns` alone does.
    Serve(serve::Serve),
    /// Reads the configuration and reports every error in it.
    ///
    /// It is read as `serve` would. Nothing is started, and without --aws nobody is asked. An
    /// error ends it with 78.
    ///
    /// With --aws every source is asked once: who the credentials are and what they lack, which
    /// addresses there are, and what each name is answered with in each view. It ends with 1 if
    /// a source says nothing or a name has no such address, and with 69 if no source is within
    /// reach.
    Check(check::Check),
    /// Writes a configuration from the Elastic IPs that an account has.
    ///
    /// These are server.toml and the zone's file, with comments. Tags Name become names, as far
    /// as they can. Nothing is overwritten: if one of the files exists, it ends with 1. It needs
    /// credentials that may call ec2:DescribeAddresses.
    Init(init::Init),
    /// Says what a client is answered for a name, and why.
    ///
    /// View, zone, binding, Elastic IP, association, age, and the answer as dig prints it. Asks
    /// the running server. Without --client and --view every view is explained.
    Explain(explain::Explain),
    /// Prints a zone as a view sees it, as a master file.
    ///
    /// named-checkzone accepts it (RFC 1035 section 5). Asks the running server. A name that is
    /// answered SERVFAIL is a comment, is told on stderr, and makes the command end with 1.
    Dump(dump::Dump),
    /// Says how the running server and its sources do.
    ///
    /// Ends with 0 when every source is healthy, with 1 when one is not, and with 69 when the
    /// server cannot be reached.
    Status(status::StatusOf),
    /// Makes the running server ask its sources now, and waits.
    ///
    /// The last line of a failover script: eipdns refresh --wait-for db.example.com=10.0.1.5
    ///
    /// Ends with 0 when the server answers that, with 1 when it does not in time (or a source
    /// failed, or no such name is bound), and with 69 when the server cannot be reached.
    Refresh(refresh::Refresh),
    /// Makes the running server read its configuration again, and says what has come of it.
    Reload(reload::Reload),
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
struct Common {
    /// Configuration directory [default: zones, else /etc/eipdns]
    #[arg(long, value_name = "DIR", env = "EIPDNS_CONFIG")]
    config: Option<PathBuf>,
    /// Listen here for DNS instead of `listen.dns`; a list with commas
    #[arg(long, value_name = "IP:PORT", env = "EIPDNS_LISTEN_DNS", value_delimiter = ',')]
    listen_dns: Option<Vec<SocketAddr>>,
    /// Listen here for HTTP instead of `listen.http`
    #[arg(long, value_name = "IP:PORT", env = "EIPDNS_LISTEN_HTTP")]
    listen_http: Option<SocketAddr>,
    /// Keep state here instead of in `state.directory`
    #[arg(long, value_name = "DIR", env = "EIPDNS_STATE")]
    state: Option<PathBuf>,
}

/// For commands that only a running server can answer.
const WITHOUT_SERVER: &str = "without one, `eipdns check`, and `eipdns explain` and `eipdns dump` \
                              with --offline, say what configuration and sources say";

/// Where an installed eipdns has its configuration.
const INSTALLED: &str = "/etc/eipdns";
/// Where a clone of the repository has its configuration.
const SHIPPED: &str = "zones";

impl Common {
    fn directory(&self) -> PathBuf {
        match &self.config {
            Some(directory) => directory.clone(),
            None if Path::new(SHIPPED).join("server.toml").exists() => SHIPPED.into(),
            None => INSTALLED.into(),
        }
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            listen_dns: self.listen_dns.clone(),
            listen_http: self.listen_http,
            state: self.state.clone(),
            ec2: ec2::calls().is_some(),
        }
    }

    /// Loads the configuration; prints what is wrong with it.
    fn load(&self) -> Result<Loaded, Exit> {
        match config::load_in_time(&self.directory(), &self.overrides()) {
            Ok(loaded) => {
                print_problems(&loaded.warnings);
                Ok(loaded)
            }
            Err(invalid) => {
                print_problems(&invalid.problems);
                Err(Exit::Config)
            }
        }
    }
}

/// Without a server the sources' word is all there is: with a part of it missing
/// an answer would be a part as well.
fn need_all_sources(offline: &Offline<'_>) -> Result<(), Exit> {
    let failed = offline.failed();
    for (source, why) in &failed {
        print::complain(&format_args!("--offline: source {source} says nothing: {why}"));
    }
    if failed.is_empty() { Ok(()) } else { Err(Exit::No) }
}

fn print_problems(problems: &[Problem]) {
    for problem in problems {
        print::line(problem);
    }
}

/// Runs the command that `args` name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed, not complained about.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return print::unprinted(error.print(), exit).into();
        }
    };
    let exit = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Init(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Dump(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Refresh(command) => command.run(),
        Command::Reload(command) => command.run(),
    };
    exit.into()
}
