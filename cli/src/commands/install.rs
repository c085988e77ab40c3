//! `heddle install` and `heddle uninstall`: print, and touch nothing. The same flags give the same text,
//! except where `--crds missing` asks the cluster.

use heddle_deploy::{Settings, SettingsError, manifests, removals, yaml};

use super::{cluster, output};
use crate::args::{Definitions, Install, Uninstall};
use crate::failure::{Failure, Outcome};
use crate::terminal::say;

pub(crate) async fn install(install: &Install) -> Outcome {
    let settings = settings(install).map_err(refused)?;
    let mut objects = manifests(&settings);
    if install.crds == Definitions::Missing && settings.crds {
        let there = cluster::definitions().await?;
        objects.retain(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            object["kind"] != "CustomResourceDefinition" || !there.contains(name)
        });
    }
    output::write(&yaml(&objects))?;
    say!(
        "Gateway API's definitions are not among them: \
         kubectl apply -f https://github.com/kubernetes-sigs/gateway-api/releases/latest/download/standard-install.yaml"
    );
    Ok(())
}

fn settings(install: &Install) -> Result<Settings, SettingsError> {
    let mut settings = Settings::default();
    let mut set = vec![format!("namespace={}", install.namespace)];
    let texts = [
        ("trustDomain", &install.trust_domain),
        ("imageRegistry", &install.image_registry),
        ("imageTag", &install.tag),
    ];
    for (key, value) in texts {
        set.extend(value.as_ref().map(|value| format!("{key}={value}")));
    }
    let native = install.native_sidecars;
    set.extend(native.map(|native| format!("nativeSidecars={native}")));
    if install.ha {
        set.push("ha=true".into());
    }
    if install.cni {
        set.push("cni=true".into());
    }
    if install.crds == Definitions::None {
        set.push("crds=false".into());
    }
    for assignment in set.iter().chain(&install.set) {
        settings.set(assignment)?;
    }
    Ok(settings)
}

pub(crate) fn uninstall(uninstall: &Uninstall) -> Outcome {
    let mut settings = Settings::default();
    settings
        .set(&format!("namespace={}", uninstall.namespace))
        .map_err(refused)?;
    output::write(&yaml(&removals(&settings, uninstall.purge)))?;
    say!(
        "Injected pods keep their sidecars until they are replaced: take the label heddle.io/inject from \
         their namespaces first, and restart them. Definitions stay, as users' routes are in them."
    );
    Ok(())
}

fn refused(error: SettingsError) -> Failure {
    let keys: Vec<_> = heddle_deploy::keys()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let failure = Failure::error(&error);
    match error {
        SettingsError::Value { .. } => failure,
        _ => failure.advise(format!("settings: {}", keys.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(flags: &[&str]) -> Install {
        let words = ["heddle", "install"]
            .into_iter()
            .chain(flags.iter().copied());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Install(install) => install,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_and_settings_are_the_same_and_the_last_one_holds() {
        let flags = parsed(&[
            "--ha",
            "--cni",
            "--namespace",
            "mesh",
            "--trust-domain",
            "prod.example",
            "--tag",
            "7",
            "--image-registry",
            "r.example",
            "--native-sidecars",
            "false",
            "--crds",
            "none",
        ]);
        let set = parsed(&[
            "--set",
            "ha=true",
            "--set",
            "cni=true",
            "--set",
            "namespace=mesh",
            "--set",
            "trustDomain=prod.example",
            "--set",
            "imageTag=6",
            "--set",
            "imageTag=7",
            "--set",
            "imageRegistry=r.example",
            "--set",
            "nativeSidecars=false",
            "--set",
            "crds=false",
        ]);
        assert_eq!(settings(&flags).unwrap(), settings(&set).unwrap());
    }

    #[test]
    fn a_setting_that_does_not_exist_is_refused_with_the_nearest() {
        let refused = settings(&parsed(&["--set", "replica=3"])).unwrap_err();
        assert!(
            refused.to_string().contains("did you mean replicas"),
            "{refused}"
        );
    }
}
