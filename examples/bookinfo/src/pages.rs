//! What each service answers.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Html;
use serde_json::{Value, json};

use crate::App;

type Answer = Result<Json<Value>, (StatusCode, String)>;

/// `GET /productpage`: the page, with the parts that answered.
pub(crate) async fn productpage(State(app): State<Arc<App>>, headers: HeaderMap) -> Html<String> {
    let (details, reviews) = parts(&app, 0, &headers).await;
    let mut page = String::from(
        "<!doctype html><meta charset=utf-8><title>Bookinfo</title>\n<h1>The Comedy of Errors</h1>\n",
    );
    match details {
        Ok(details) => {
            page.push_str("<h2>Details</h2>\n<dl>");
            for (name, value) in details.as_object().into_iter().flatten() {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                let _ = write!(page, "<dt>{}<dd>{}", escape(name), escape(&value));
            }
            page.push_str("</dl>\n");
        }
        Err(error) => part_missing(&mut page, "details", &error),
    }
    match reviews {
        Ok(reviews) => {
            let version = escape(reviews["version"].as_str().unwrap_or_default());
            let _ = writeln!(page, "<h2>Reviews ({version})</h2>");
            for review in reviews["reviews"].as_array().into_iter().flatten() {
                let text = escape(review["text"].as_str().unwrap_or_default());
                let _ = writeln!(page, "<blockquote>{text}{}</blockquote>", stars(review));
            }
        }
        Err(error) => part_missing(&mut page, "reviews", &error),
    }
    Html(page)
}

/// `GET /api/v1/products/ID`: the same as JSON.
pub(crate) async fn product(
    State(app): State<Arc<App>>,
    Path(id): Path<u32>,
    headers: HeaderMap,
) -> Answer {
    let (details, reviews) = parts(&app, id, &headers).await;
    let part = |part: Result<Value, String>| part.unwrap_or_else(|error| json!({"error": error}));
    Ok(Json(json!({
        "id": id,
        "pod": app.pod,
        "details": part(details),
        "reviews": part(reviews),
    })))
}

/// `GET /details/ID`.
pub(crate) async fn details(State(app): State<Arc<App>>, Path(id): Path<u32>) -> Answer {
    Ok(Json(json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "pod": app.pod,
    })))
}

/// `GET /reviews/ID`: v1 has no stars, v2 black ones, v3 red ones.
pub(crate) async fn reviews(
    State(app): State<Arc<App>>,
    Path(id): Path<u32>,
    headers: HeaderMap,
) -> Answer {
    let color = match app.version.as_str() {
        "v1" => None,
        "v2" => Some("black"),
        _ => Some("red"),
    };
    let mut reviews = vec![
        json!({"reviewer": "Reviewer1", "text": "An extremely entertaining play."}),
        json!({"reviewer": "Reviewer2", "text": "Absolutely fun and entertaining."}),
    ];
    if let Some(color) = color {
        let url = format!("http://ratings:{}/ratings/{id}", app.services_port);
        let ratings = app.client.get(&url, &headers).await;
        for review in &mut reviews {
            let reviewer = review["reviewer"].as_str().unwrap_or_default().to_owned();
            review["rating"] = match &ratings {
                Ok(ratings) => json!({"stars": ratings["ratings"][&reviewer], "color": color}),
                Err(error) => json!({"error": error}),
            };
        }
    }
    Ok(Json(json!({
        "id": id,
        "version": app.version,
        "pod": app.pod,
        "reviews": reviews,
    })))
}

/// `GET /ratings/ID`.
pub(crate) async fn ratings(State(app): State<Arc<App>>, Path(id): Path<u32>) -> Answer {
    Ok(Json(json!({
        "id": id,
        "ratings": {"Reviewer1": 5, "Reviewer2": 4},
        "pod": app.pod,
    })))
}

async fn parts(
    app: &App,
    id: u32,
    headers: &HeaderMap,
) -> (Result<Value, String>, Result<Value, String>) {
    let port = app.services_port;
    let details = format!("http://details:{port}/details/{id}");
    let reviews = format!("http://reviews:{port}/reviews/{id}");
    tokio::join!(
        app.client.get(&details, headers),
        app.client.get(&reviews, headers)
    )
}

fn part_missing(page: &mut String, part: &str, error: &str) {
    eprintln!("{part} is missing from a page: {error}");
    let _ = writeln!(
        page,
        "<p>Sorry, {part} are not available: {}</p>",
        escape(error)
    );
}

fn stars(review: &Value) -> String {
    let rating = &review["rating"];
    let Some(stars) = rating["stars"].as_u64() else {
        return String::new();
    };
    let color = escape(rating["color"].as_str().unwrap_or("black"));
    format!(
        " <span style=\"color:{color}\">{}</span>",
        "★".repeat(stars.min(5) as usize)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
