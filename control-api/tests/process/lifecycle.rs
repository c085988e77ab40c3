//! A watched directory, its edits and mistakes; SIGTERM, SIGKILL and what is there after it.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::support::{BOOKINFO, Setup, until};

#[tokio::test]
async fn edits_are_pushed_and_mistakes_are_told() {
    let setup = Setup::new().await;
    let mut program = setup.start();
    let mut proxy = setup.proxy().await;
    proxy.until_weight(90).await;
    let file = setup.path("config/bookinfo.yaml");
    let edited = |weight: u32| BOOKINFO.replace("weight: 90", &format!("weight: {weight}"));
    let mut times = Vec::new();
    for weight in 1..=50 {
        let started = Instant::now();
        fs::write(&file, edited(weight)).unwrap();
        proxy.until_weight(weight).await;
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "edit to push: median {:?}, longest {:?}",
        times[25], times[49]
    );
    assert!(times[49] < Duration::from_secs(1), "{times:?}");

    // A subset that does not exist, and a broken document beside it.
    let bad = edited(50).replace("subset: v1", "subset: v7")
        + "---\nkind: Telemetry\nmetadata:\n  name: t\nspec: [\n";
    fs::write(&file, &bad).unwrap();
    let line =
        u32::try_from(bad.lines().position(|line| line.contains("v7")).unwrap() + 1).unwrap();
    let status = until(async || {
        setup
            .status()
            .await
            .filter(|status| status.refused.len() == 2)
    })
    .await;
    let subset = status
        .refused
        .iter()
        .find(|r| r.kind == "VirtualService")
        .unwrap();
    assert_eq!(
        (
            subset.name.as_str(),
            subset.line,
            subset.suggestion.as_str()
        ),
        ("reviews-route", line, "did you mean `v1`?")
    );
    assert!(subset.file.ends_with("config/bookinfo.yaml") && subset.severity == "error");
    let broken = status
        .refused
        .iter()
        .find(|r| r.kind == "Telemetry")
        .unwrap();
    assert!(
        broken.name == "t" && broken.reason.contains("not valid YAML"),
        "{broken:?}"
    );
    assert_eq!((status.services, status.endpoints), (4, 6));
    let shown = &status.proxies[0];
    assert_eq!(
        (shown.namespace.as_str(), shown.pod.as_str()),
        ("default", "productpage-1")
    );
    assert!(
        shown.synced && shown.config_version == status.model_version.to_string(),
        "{status:?}"
    );
    // Mended: live again, the proxy never having lost anything.
    fs::write(&file, edited(60)).unwrap();
    proxy.until_weight(60).await;
    until(async || {
        setup
            .status()
            .await
            .filter(|status| status.refused.is_empty())
    })
    .await;

    program.signal(Signal::SIGTERM);
    assert!(program.ended().await.success());
    assert!(proxy.next().await.is_none());
    assert!(!setup.path("admin.sock").exists());
}

#[tokio::test]
async fn it_comes_back_after_being_killed() {
    let setup = Setup::new().await;
    let mut program = setup.start();
    setup.proxy().await.until_weight(90).await;
    program.signal(Signal::SIGKILL);
    program.ended().await;
    let _program = setup.start();
    setup.proxy().await.until_weight(90).await;
    assert!(
        setup.status().await.is_some(),
        "a socket that was left behind is no obstacle"
    );
}

#[tokio::test]
async fn what_is_bad_when_it_is_killed_stays_as_it_was() {
    let setup = Setup::new().await;
    let mut program = setup.start();
    setup.proxy().await.until_weight(90).await;
    // A subset that does not exist; then, in a file of its own, a field that does not exist.
    let policy = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                  metadata: {name: default}\nspec: {mtls: {mode: STRICT}}\n";
    fs::write(setup.path("config/policy.yaml"), policy).unwrap();
    let refused = async |count: usize| {
        until(async || {
            let status = setup.status().await?;
            (status.refused.len() == count).then_some(status)
        })
        .await
    };
    let bad = BOOKINFO
        .replace("subset: v1", "subset: v7")
        .replace("weight: 90", "weight: 91");
    fs::write(setup.path("config/bookinfo.yaml"), bad).unwrap();
    refused(1).await;
    fs::write(
        setup.path("config/policy.yaml"),
        policy.replace("mode", "mood"),
    )
    .unwrap();
    let status = refused(2).await;
    until(async || {
        let kept = fs::read(setup.path("state/last-good")).ok()?;
        let text = String::from_utf8_lossy(&kept);
        (text.contains("weight: 90") && text.contains("STRICT")).then_some(())
    })
    .await;
    for _ in 0..2 {
        program.signal(Signal::SIGKILL);
        program.ended().await;
        program = setup.start();
        let again = refused(2).await;
        assert_eq!(again.refused, status.refused);
        setup.proxy().await.until_weight(90).await;
    }
    // A file that makes no sense is no obstacle.
    program.signal(Signal::SIGKILL);
    program.ended().await;
    fs::write(setup.path("state/last-good"), "nonsense").unwrap();
    let _program = setup.start();
    let again = refused(2).await;
    let told = |part: &str| again.refused.iter().any(|r| r.consequence.contains(part));
    assert!(
        told("no version of it is in force")
            && told("STRICT for all that is under namespace default"),
        "{again:?}"
    );
}

#[test]
fn bad_flags_are_told_at_the_start() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_heddle-control"))
            .args(arguments)
            .env_remove("NO_COLOR")
            .output()
            .unwrap()
    };
    let output = run(&[
        "--config-dir",
        "/nonexistent/heddle",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/nonexistent/heddle"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "colours are for terminals: {text:?}"
    );
    assert!(String::from_utf8_lossy(&run(&["--help"]).stdout).contains("Example"));
}
