#![allow(clippy::unwrap_used)]
use super::super::{Client, ClientError};
use super::*;
use crate::manifests::Key;

#[derive(Default)]
struct Fake {
    store: Store,
    stop: tokio::sync::Notify,
}

impl Daemon for Fake {
    async fn status(&self) -> Status {
        Status {
            mesh: "fake".to_owned(),
            ready: true,
            ..Status::default()
        }
    }

    async fn apply(&self, manifests: Vec<Manifest>) -> Result<Report, Failed> {
        let change = |manifest: Manifest| Change {
            key: Key::new("Pod", "default", &manifest.file),
            outcome: manifest.text,
        };
        Ok(Report {
            changes: manifests.into_iter().map(change).collect(),
            ..Report::default()
        })
    }

    async fn delete(&self, _: Deletion) -> Result<Report, Failed> {
        Err(Failed {
            error: "no".to_owned(),
            advice: Some("do not".to_owned()),
        })
    }

    async fn objects(&self, query: Query) -> Result<Vec<Value>, Failed> {
        Ok(vec![serde_json::to_value(query).unwrap()])
    }

    async fn explain(&self, ask: Ask) -> Result<Value, Failed> {
        Ok(serde_json::to_value(ask).unwrap())
    }

    async fn system(&self, component: String, action: String) -> Result<Change, Failed> {
        Ok(Change {
            key: Key::new(&component, "", ""),
            outcome: action,
        })
    }

    fn shutdown(&self) {
        self.stop.notify_one();
    }

    fn traces(&self) -> &Store {
        &self.store
    }
}

#[tokio::test]
async fn a_round_trip_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("daemon.sock");
    let client = Client::new(&"fake".parse().unwrap(), &socket);
    assert!(matches!(
        client.status().await,
        Err(ClientError::NotRunning { .. })
    ));

    let daemon = Arc::new(Fake::default());
    let stopped = Arc::clone(&daemon);
    let path = socket.clone();
    let serving = tokio::spawn(async move {
        serve(&path, Arc::clone(&stopped), async move {
            stopped.stop.notified().await
        })
        .await
    });
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.status().await.unwrap().mesh, "fake");
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let manifest = Manifest {
        file: "a".to_owned(),
        text: "created".to_owned(),
    };
    assert_eq!(
        client.apply(&[manifest]).await.unwrap().changes[0].outcome,
        "created"
    );
    match client.delete(vec![Key::new("Pod", "default", "a")]).await {
        Err(ClientError::Refused { error, advice }) => {
            assert_eq!((error.as_str(), advice.as_deref()), ("no", Some("do not")))
        }
        other => panic!("{other:?}"),
    }
    let query = Query {
        kinds: "Pod".to_owned(),
        ..Query::default()
    };
    assert_eq!(client.objects(&query).await.unwrap()[0]["kinds"], "Pod");
    assert_eq!(
        client.system("stop", "identity").await.unwrap().outcome,
        "stop"
    );
    assert!(client.traces(&Filter::default()).await.unwrap().is_empty());
    assert!(
        client
            .trace("")
            .await
            .unwrap_err()
            .to_string()
            .contains("no traces yet")
    );
    client.shutdown().await.unwrap();
    serving.await.unwrap().unwrap();
}
