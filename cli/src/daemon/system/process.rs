//! Runs the mesh's own processes in the node's network, until the node's supervisor takes this over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::node::{Node, NodeError};

/// How a process is run.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) log: PathBuf,
}

/// What a process is like.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) reason: Option<String>,
}

/// The processes by name.
#[derive(Debug)]
pub(crate) struct Supervisor {
    node: Arc<Node>,
    children: Mutex<BTreeMap<String, Child>>,
}

impl Supervisor {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            children: Mutex::default(),
        }
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn start(&self, process: Process) -> Result<(), NodeError> {
        let log =
            std::fs::File::create(&process.log).map_err(NodeError::file("make", &process.log))?;
        let copy = log
            .try_clone()
            .map_err(NodeError::file("open", &process.log))?;
        let program = self.node.bin_dir().join(&process.program);
        let child = Command::new("ip")
            .args(["netns", "exec", &self.node.layout.node_netns()])
            .arg(&program)
            .args(&process.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(NodeError::file("run", &program))?;
        self.children().insert(process.name, child);
        Ok(())
    }

    pub(crate) async fn stop(&self, name: &str) {
        let child = self.children().remove(name);
        if let Some(mut child) = child {
            // A process that has ended already needs no signal.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn status(&self, name: &str) -> Option<Status> {
        let mut children = self.children();
        let child = children.get_mut(name)?;
        let ended = child.try_wait().ok().flatten();
        Some(Status {
            pid: ended.is_none().then(|| child.id()),
            restarts: 0,
            reason: ended.map(|status| format!("it has ended ({status})")),
        })
    }
}
