//! Bodies of requests, read whole before anybody works on them, and bounded: each by itself, and all
//! that are in memory together. Who comes when there is no room is told to try again, at once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::MAX_BODY_BYTES;

/// A body grows by this much at a time.
const STEP: usize = 16 * 1024;

/// Room for the bodies of one server. Clones share it.
#[derive(Clone, Debug)]
pub struct Bodies {
    /// A permit for each byte.
    room: Arc<Semaphore>,
    shed: Arc<AtomicU64>,
}

impl Bodies {
    /// Room for `bytes` in all.
    #[must_use]
    pub fn new(bytes: u32) -> Self {
        Self {
            room: Arc::new(Semaphore::new(bytes as usize)),
            shed: Arc::default(),
        }
    }

    /// How many requests found none.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// A layer's function ([`axum::middleware::from_fn_with_state`]): what is inside has the body at
    /// once, and its room is taken until it has answered.
    pub async fn hold(State(bodies): State<Self>, request: Request, next: Next) -> Response {
        let (parts, body) = request.into_parts();
        let declared = parts.headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        match bodies.read(body, declared).await {
            Ok((bytes, _room)) => {
                next.run(Request::from_parts(parts, Body::from(bytes)))
                    .await
            }
            Err(refused) => refused.into_response(),
        }
    }

    async fn read(
        &self,
        body: Body,
        declared: Option<usize>,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refused> {
        if declared.is_some_and(|length| length > MAX_BODY_BYTES) {
            return Err(Refused::TooLarge);
        }
        let mut room = self.take(0)?;
        let mut bytes: Vec<u8> = Vec::new();
        let mut data = body.into_data_stream();
        while let Some(piece) = data.try_next().await.map_err(|_| Refused::Broken)? {
            let length = bytes.len() + piece.len();
            if length > MAX_BODY_BYTES {
                return Err(Refused::TooLarge);
            }
            if length > bytes.capacity() {
                // Never more than was said, so that who says much and sends little takes little.
                let grown = (bytes.capacity() * 2).max(length).next_multiple_of(STEP);
                let grown = declared.map_or(grown, |declared| grown.min(declared.max(length)));
                room.merge(self.take(grown - bytes.capacity())?);
                bytes.reserve_exact(grown - bytes.len());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, room))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = self.room.clone().try_acquire_many_owned(count);
        taken.map_err(|_| {
            self.shed.fetch_add(1, Ordering::Relaxed);
            Refused::NoRoom
        })
    }
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    TooLarge,
    NoRoom,
    Broken,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let retry = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
        match self {
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is longer than 3 MiB\n",
            )
                .into_response(),
            Self::NoRoom => {
                let said = "too many bodies at once; try again\n";
                (StatusCode::SERVICE_UNAVAILABLE, retry, said).into_response()
            }
            Self::Broken => (StatusCode::BAD_REQUEST, "the body broke off\n").into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;

    use axum::body::Bytes;
    use futures_util::{StreamExt, stream};

    use super::*;

    /// A body that sends so much, and then nothing more.
    fn stalled(bytes: usize) -> Body {
        let sent = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![0; bytes]))]);
        Body::from_stream(sent.chain(stream::pending()))
    }

    #[tokio::test]
    async fn all_bodies_together_have_no_more_room_than_there_is() {
        const ROOM: u32 = 1024 * 1024;
        let bodies = Bodies::new(ROOM);
        let piece = 200 * 1024;
        let mut held = Vec::new();
        for _ in 0..5 {
            let reading = bodies.clone();
            held.push(tokio::spawn(async move {
                reading.read(stalled(piece), None).await.map(|_| ())
            }));
        }
        // Those that stall hold what they have sent, and one of them does not fit.
        while bodies.room.available_permits() > ROOM as usize - 5 * piece {
            if bodies.shed() > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        let whole = || Body::from(vec![1; piece]);
        assert_eq!(
            bodies.read(whole(), Some(piece)).await.unwrap_err(),
            Refused::NoRoom
        );
        assert!(bodies.shed() > 0);
        for task in held {
            task.abort();
            _ = task.await;
        }
        assert_eq!(bodies.room.available_permits(), ROOM as usize);
        let (bytes, room) = bodies.read(whole(), Some(piece)).await.unwrap();
        assert_eq!((bytes.len(), bytes.capacity()), (piece, piece));
        assert_eq!(room.num_permits(), piece);
    }

    #[tokio::test]
    async fn who_says_much_and_sends_little_takes_little() {
        let bodies = Bodies::new(1024 * 1024);
        let said = Some(MAX_BODY_BYTES);
        let reading = bodies.read(stalled(100), said);
        let read = tokio::time::timeout(std::time::Duration::from_millis(20), reading).await;
        assert!(read.is_err());
        let (_, room) = bodies.read(Body::from("abc"), said).await.unwrap();
        assert_eq!(room.num_permits(), STEP);
    }

    #[tokio::test]
    async fn one_body_has_a_bound_of_its_own() {
        let bodies = Bodies::new(u32::MAX / 2);
        let long = || Body::from(vec![0; MAX_BODY_BYTES + 1]);
        for declared in [None, Some(MAX_BODY_BYTES + 1)] {
            let read = bodies.read(long(), declared).await;
            assert_eq!(read.unwrap_err(), Refused::TooLarge);
        }
        let most = bodies.read(Body::from(vec![0; MAX_BODY_BYTES]), None).await;
        assert_eq!(most.unwrap().0.len(), MAX_BODY_BYTES);
        assert_eq!(bodies.shed(), 0);
    }
}
