//! What `heddle install` starts: every flag exists, and takes the value that it is given there.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use heddle_deploy::{Settings, manifests};

#[test]
fn the_manifests_start_it_with_flags_that_exist() {
    let mut settings = Settings::default();
    for assignment in ["caSecret=mesh-ca", "otlpEndpoint=http://collector:4317"] {
        for settings in [Settings::default(), settings.clone()] {
            let objects = manifests(&settings);
            let deployment = objects.iter().find(|object| {
                object["kind"] == "Deployment" && object["metadata"]["name"] == "heddle-identity"
            });
            let container = &deployment.unwrap()["spec"]["template"]["spec"]["containers"][0];
            let args = container["args"].as_array().unwrap();
            let run = |last: &str| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_heddle-identity"));
                command.args(args.iter().map(|arg| arg.as_str().unwrap()));
                command.arg(last).output().unwrap()
            };
            // `--help` last: everything before it has been read.
            let output = run("--help");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            assert!(!run("--no-such-flag").status.success());
        }
        settings.set(assignment).unwrap();
    }
}

#[test]
fn it_is_called_what_it_is() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heddle-identity"));
    let said = command.arg("--version").output().unwrap().stdout;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8(said).unwrap(),
        format!("heddle-identity {version}\n")
    );
}
