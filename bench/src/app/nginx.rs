//! nginx: one process that answers everything with 1 KiB from memory.

use std::time::Duration;

use crate::app::body;
use crate::error::Result;
use crate::http::Connection;
use crate::peers::Tools;
use crate::process::Process;
use crate::programs::for_anybody;
use crate::template::fill;
use crate::world::{APP_USER, Place};

const TEMPLATE: &str = include_str!("../../app/nginx.conf");

/// `protocol` is what follows the address in `listen`: nothing, or http2.
pub(crate) fn start(tools: Tools<'_>, pod: Place, protocol: &str) -> Result<Process> {
    let Tools {
        world, programs, ..
    } = tools;
    let nginx = for_anybody(world, &programs.nginx)?;
    let body = body(pod.name());
    let dir = world.fresh_dir(&format!("app-{}", pod.name()), APP_USER)?;
    let values = [
        ("DIR", &*dir.to_string_lossy()),
        ("IP", &pod.ip().to_string()),
        ("PROTOCOL", protocol),
        ("BODY", &body),
    ];
    let text = fill(TEMPLATE, &values);
    let file = world.write(&format!("app-{}/nginx.conf", pod.name()), &text, APP_USER)?;
    let args = [
        "-e".as_ref(),
        "stderr".as_ref(),
        "-p".as_ref(),
        dir.as_os_str(),
        "-c".as_ref(),
        file.as_os_str(),
    ];
    let mut app = Process::start(world, pod, APP_USER, "app", &nginx, args)?;
    app.wait("listening", || {
        Connection::open(pod, pod.app(), Duration::from_secs(1)).is_ok()
    })?;
    Ok(app)
}
