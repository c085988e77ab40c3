//! iperf3's server: one test at a time.

use crate::error::Result;
use crate::peers::Tools;
use crate::process::Process;
use crate::programs::for_anybody;
use crate::world::{APP_USER, PORT, Place};

pub(crate) fn start(tools: Tools<'_>, pod: Place) -> Result<Process> {
    let iperf3 = for_anybody(tools.world, &tools.programs.iperf3)?;
    let (ip, port) = (pod.ip().to_string(), PORT.to_string());
    let args = ["--server", "--bind", &ip, "--port", &port, "--forceflush"];
    let mut app = Process::start(tools.world, pod, APP_USER, "app", &iperf3, args)?;
    // To it a connection that is only tried would be a test that fails; what it prints is a file.
    let log = app.log().to_owned();
    app.wait("listening", || {
        std::fs::read_to_string(&log).is_ok_and(|said| said.contains("Server listening"))
    })?;
    Ok(app)
}
