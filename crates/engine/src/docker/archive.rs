//! Images as archives: written out as `docker save` does it, and taken in as `docker load` does.

use super::connection::Docker;
use super::stream::Ask;
use crate::error::{Error, Result, shown};
use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::time::Duration;

impl Docker {
    pub(super) async fn export_image(&self, id: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        let operation = format!("write out image {id}");
        // Docker's answer would be that it has failed.
        if self.inspect_image(id).await?.is_none() {
            return Err(Error::NotFound { operation, message: format!("No such image: {id}") });
        }
        let ask = Ask {
            operation: operation.clone(),
            method: "GET",
            path: format!("/images/{id}/get"),
            body: None,
            upgrade: false,
        };
        // The answer begins when Docker has gathered all of the image.
        let chunks = self.begin_within(ask, self.deadlines().archive_silence_ms).await?;
        Ok(chunks.chunks(operation).boxed())
    }

    pub(super) async fn import_image(
        &self,
        archive: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<()> {
        let operation = "take in an image";
        let silence_ms = self.deadlines().archive_silence_ms;
        let client = self.within(operation, self.deadlines().call_ms, self.client()).await?;
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let body = bollard::body_try_stream(archive);
        let mut steps = client.bollard.import_image(options, body, None).boxed();
        loop {
            let next = tokio::time::timeout(Duration::from_millis(silence_ms), steps.next()).await;
            match next {
                Err(_elapsed) => return Err(self.timed_out(operation, silence_ms)),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(self.explain(operation, error)),
                Ok(Some(Ok(step))) => {
                    if let Some(why) = step.error_detail.and_then(|detail| detail.message) {
                        return Err(Error::Docker {
                            operation: operation.into(),
                            status: 200,
                            message: shown(&why),
                        });
                    }
                }
            }
        }
    }
}
