//! The application of the chaos, soak and conformance meshes: `heddle-echo [echo|stall|reset|reflect]`.

use std::process::ExitCode;

use heddle_tests::echo::{self, Behaviour};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

fn main() -> ExitCode {
    let behaviour = match std::env::args().nth(1).as_deref() {
        None | Some("echo") => Behaviour::Echo,
        Some("stall") => Behaviour::Stall,
        Some("reset") => Behaviour::Reset,
        Some("reflect") => Behaviour::Reflect,
        Some(other) => {
            eprintln!("heddle-echo: `{other}` is none of echo, stall, reset, reflect");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve(behaviour)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle-echo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(behaviour: Behaviour) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        terminate.recv().await;
        stop.send_replace(true);
    });
    echo::run(behaviour, stopped).await
}
