//! Whose a token is: by TokenReview, and by the keys that the cluster publishes.

use heddle_apiserver::{Effect, Fault, User};
use tonic::Code;

use crate::support::Cluster;

fn reviews(cluster: &Cluster) -> usize {
    let asked = cluster.api.asked();
    asked
        .iter()
        .filter(|asked| asked.resource == "tokenreviews")
        .count()
}

#[tokio::test]
async fn the_api_server_is_asked_and_only_our_audience_is_believed() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start(
            "a",
            &["--verify-tokens", "review", "--root-secret", "heddle-root"],
        )
        .await;
    cluster.until("the root", || cluster.root().is_some()).await;
    let roots = cluster.root().unwrap();

    let good = cluster.known_token("shop", "cart");
    let issued = replica.issue(&roots, "shop", "cart", &good).await.unwrap();
    assert_eq!(issued.chain.len(), 1);
    // Asked once for a token that comes again.
    replica.issue(&roots, "shop", "cart", &good).await.unwrap();
    assert_eq!(reviews(&cluster), 1);

    // What cannot be good is not asked about.
    for token in ["junk", &cluster.token("shop", "cart", "vault")] {
        let refused = replica
            .issue(&roots, "shop", "cart", token)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    assert_eq!(reviews(&cluster), 1);

    // A token that the API server does not know, such as of a pod that is gone.
    let unknown = cluster.token("shop", "web", "heddle");
    let refused = replica
        .issue(&roots, "shop", "web", &unknown)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().contains("invalid bearer token"),
        "{refused}"
    );

    // One that is for us by its own words, but for somebody else by the API server's.
    let other = cluster.token("shop", "db", "heddle");
    let user = "system:serviceaccount:shop:db";
    cluster.api.know(&other, User::new(user, &["vault"]));
    let refused = replica
        .issue(&roots, "shop", "db", &other)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    // One that is somebody else's than it says.
    let stolen = cluster.token("shop", "till", "heddle");
    cluster.api.know(
        &stolen,
        User::new("system:serviceaccount:shop:thief", &["heddle"]),
    );
    let refused = replica
        .issue(&roots, "shop", "till", &stolen)
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("not the service account"),
        "{refused}"
    );

    // For another identity than the token's.
    let refused = replica
        .issue(&roots, "shop", "web", &good)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(!replica.said().contains(&good), "tokens are not logged");
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_is_worth_another_try() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start(
            "a",
            &["--verify-tokens", "review", "--root-secret", "heddle-root"],
        )
        .await;
    cluster.until("the root", || cluster.root().is_some()).await;
    let roots = cluster.root().unwrap();
    let token = cluster.known_token("shop", "cart");
    cluster.api.fail(Fault {
        verbs: vec!["create"],
        resource: "tokenreviews.authentication.k8s.io".into(),
        effect: Effect::Refuse(500, "InternalError"),
        times: 1,
    });
    let refused = replica
        .issue(&roots, "shop", "cart", &token)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("try again"), "{refused}");
    // A failure is not remembered.
    replica.issue(&roots, "shop", "cart", &token).await.unwrap();
    cluster.api.go_away().await;
    let another = cluster.token("shop", "web", "heddle");
    let refused = replica
        .issue(&roots, "shop", "web", &another)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

#[tokio::test]
async fn the_clusters_own_issuer_is_discovered_and_believed_by_its_keys() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start(
            "a",
            &[
                "--verify-tokens",
                "cluster-keys",
                "--root-secret",
                "heddle-root",
            ],
        )
        .await;
    cluster.until("the root", || cluster.root().is_some()).await;
    let roots = cluster.root().unwrap();
    let token = cluster.token("shop", "cart", "heddle");
    replica.issue(&roots, "shop", "cart", &token).await.unwrap();
    assert_eq!(reviews(&cluster), 0);
    // Also while nobody can be asked.
    cluster.api.go_away().await;
    let token = cluster.token("shop", "web", "heddle");
    replica.issue(&roots, "shop", "web", &token).await.unwrap();
    let wrong = Cluster::new().await.token("shop", "web", "heddle");
    let refused = replica
        .issue(&roots, "shop", "web", &wrong)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
