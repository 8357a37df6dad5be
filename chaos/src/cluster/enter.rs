//! Namespaces of the harness's own (network, mounts, processes), so that nothing of a run is left on the
//! machine: interfaces, mounts, loop devices and nodes end with the harness, even when it is killed.

use crate::error::ChaosError;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use tokio::signal::unix::{SignalKind, signal};

/// Says to the program that it runs inside already.
const INSIDE: &str = "ESTAFETTE_CHAOS_INSIDE";
/// What the first process of such a namespace ends with when it is told to stop.
const STOPPED: i32 = 2;

/// Becomes the same program within new namespaces; returns when it is there. Needs root and `unshare` of
/// util-linux.
pub(crate) fn enter() -> Result<(), ChaosError> {
    if std::env::var_os(INSIDE).is_some() && std::process::id() == 1 {
        return Ok(());
    }
    let failed = |source| ChaosError::Program { program: "unshare".to_owned(), source };
    let program = std::env::current_exe().map_err(failed)?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "--"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(failed(error))
}

/// The first process of a namespace obeys only the signals that it asks for.
pub(crate) fn obey_signals() -> Result<(), ChaosError> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut stop = signal(kind).map_err(ChaosError::system("signal"))?;
        tokio::spawn(async move {
            stop.recv().await;
            std::process::exit(STOPPED);
        });
    }
    Ok(())
}

/// Runs a program of the system to its end; what it printed.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Result<String, ChaosError> {
    tool_with(program, arguments, "")
}

/// The same with something on its standard input.
pub(crate) fn tool_with(program: &str, arguments: &[&str], input: &str) -> Result<String, ChaosError> {
    let failed = |source| ChaosError::Program { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that has ended without reading says so by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let tool = format!("{program} {}", arguments.join(" "));
    Err(ChaosError::Tool { tool, output: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
