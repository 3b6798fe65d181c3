//! Extractors whose rejections have the API's one error shape.

use api::error::{ErrorInfo, Kind};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// The query of a URL.
#[derive(Debug)]
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ErrorInfo;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorInfo> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| ErrorInfo::invalid(rejection.body_text()))
    }
}

/// What stands in the `{…}` of a route.
#[derive(Debug)]
pub(super) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ErrorInfo;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorInfo> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| ErrorInfo::invalid(rejection.body_text()))
    }
}

/// A JSON body.
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ErrorInfo;

    async fn from_request(request: Request, state: &S) -> Result<Self, ErrorInfo> {
        let body = axum::Json::from_request(request, state).await;
        body.map(|axum::Json(body)| Self(body)).map_err(|rejection| {
            let kind = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
                _ => Kind::Invalid,
            };
            ErrorInfo::new(kind, rejection.body_text())
        })
    }
}

/// A JSON body that may be left out: then every field has its default.
#[derive(Debug)]
pub(super) struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = ErrorInfo;

    async fn from_request(request: Request, state: &S) -> Result<Self, ErrorInfo> {
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|rejection| {
            let kind = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
                _ => Kind::Invalid,
            };
            ErrorInfo::new(kind, rejection.body_text())
        })?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|e| ErrorInfo::invalid(format!("the body cannot be read: {e}")))
    }
}
