//! The program: arguments in, exit code out. Everything else is the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "ec2")]
    eipdns::source::ec2::install(eipdns_aws::CALLS);
    eipdns::cli::main(std::env::args_os())
}
