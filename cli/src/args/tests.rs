#![allow(clippy::unwrap_used)]
use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example() {
    for command in Cli::command().get_subcommands() {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            help.contains("Example:\n  heddle ") || help.contains("Example:\n  cat "),
            "{}",
            command.get_name()
        );
        assert!(command.get_about().is_some());
    }
}

#[test]
fn up_takes_paths_both_ways() {
    let Command::Up(up) = parse("heddle up a.yaml -f b/ --timeout 1.5m --mesh x")
        .unwrap()
        .command
    else {
        panic!()
    };
    assert_eq!(
        up.paths().map(|p| p.to_str().unwrap()).collect::<Vec<_>>(),
        ["a.yaml", "b/"]
    );
    assert_eq!(up.timeout, Duration::from_secs(90));
    assert!(!up.detach);
}

#[test]
fn exec_passes_everything_behind_the_dashes() {
    let line = "heddle exec -n shop web -- curl -s -o /dev/null http://x";
    let Command::Exec(exec) = parse(line).unwrap().command else {
        panic!()
    };
    assert_eq!(
        (
            exec.pod.as_str(),
            exec.namespace.as_str(),
            exec.command.len()
        ),
        ("web", "shop", 5)
    );
    assert!(parse("heddle exec web").is_err());
}

#[test]
fn wrong_values_are_usage_errors() {
    for line in [
        "heddle --mesh Up_Case status",
        "heddle up x --sampling-percentage 101",
        "heddle up x --timeout soon",
        "heddle get",
        "heddle delete vs",
        "heddle delete -f x vs y",
        "heddle status -o xml",
        "heddle system stop everything",
        "heddle system stop",
        "heddle rollout restart web",
        "heddle rollout restart deploy/",
        "heddle scale deploy/web",
        "heddle scale deploy/web --replicas -1",
        "heddle up x --cert-ttl 500ms",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn durations() {
    for (text, millis) in [("250ms", 250), ("1.5s", 1500), ("2m", 120_000)] {
        assert_eq!(duration(text).unwrap(), Duration::from_millis(millis));
    }
    assert!(duration("10").is_err() && duration("-1s").is_err() && duration("").is_err());
}

#[test]
fn roots_rotate_without_a_component() {
    for (line, action) in [
        ("heddle system rotate-root", SystemAction::RotateRoot),
        ("heddle system drop-root", SystemAction::DropRoot),
    ] {
        let Command::System {
            action: read,
            component,
        } = parse(line).unwrap().command
        else {
            panic!()
        };
        assert_eq!((read, component), (action, None));
    }
}

#[test]
fn workloads_are_named_as_kubectl_does() {
    let line = "heddle scale -n shop deploy/web --replicas 5";
    let Command::Scale(scale) = parse(line).unwrap().command else {
        panic!()
    };
    let name = &scale.workload;
    assert_eq!((name.kind(), name.name()), ("deploy", "web"));
    assert_eq!((name.namespace.as_str(), scale.replicas), ("shop", 5));
}
